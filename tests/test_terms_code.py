"""Identifiers in parts and whole: a table of real names."""

from __future__ import annotations

import pytest

from lbr_search.terms.code import code, identifier_parts

PARTS = """
readFile = read File
HTTPServer = HTTP Server
XMLHttpRequest = XML Http Request
parseJSON = parse JSON
getElementById = get Element By Id
toString = to String
innerHTML = inner HTML
iPhone = i Phone
max_size = max size
__init__ = init
__getattr__ = getattr
_private = private
snake_case_name = snake case name
MAX_RETRIES = MAX RETRIES
SCREAMING_SNAKE = SCREAMING SNAKE
utf8 = utf 8
utf16le = utf 16 le
base64 = base 64
sha256sum = sha 256 sum
md5 = md 5
int32 = int 32
float64 = float 64
np2pd = np 2 pd
str2int = str 2 int
x1 = x 1
Vec3d = Vec 3 d
HTML5Parser = HTML 5 Parser
S3Client = S 3 Client
getHTTPResponseCode = get HTTP Response Code
URLError = URL Error
JSONDecodeError = JSON Decode Error
DataFrame = Data Frame
OrderedDict = Ordered Dict
defaultdict =
isinstance =
setUp = set Up
assertEqual = assert Equal
assertRaisesRegex = assert Raises Regex
ElementTree = Element Tree
ThreadPoolExecutor = Thread Pool Executor
BaseHTTPRequestHandler = Base HTTP Request Handler
PyObject = Py Object
PyList_Append = Py List Append
numpy =
to_csv = to csv
read_csv = read csv
groupby =
group_by = group by
qSort = q Sort
isNaN = is Na N
LF_to_CRLF = LF to CRLF
A1 = A 1
py3k = py 3 k
ISO8601 = ISO 8601
rgb2hex = rgb 2 hex
OAuth2Token = O Auth 2 Token
EOFError = EOF Error
IOError = IO Error
FlightNo = Flight No
DestAirport = Dest Airport
student_ID = student ID
größeÄndern = gr öß e Ä ndern
"""


@pytest.mark.parametrize("line", PARTS.strip().splitlines())
def test_parts_of_identifiers(line):
    """camelCase, snake_case and digits are boundaries; one word has no parts."""
    identifier, _, parts = line.partition(" =")
    assert identifier_parts(identifier) == parts.strip()


@pytest.mark.parametrize("line", PARTS.strip().splitlines())
def test_identifiers_stay_whole(line):
    """The first term of an identifier is the whole, in the form of its English stem."""
    identifier = line.partition(" =")[0]
    assert code(identifier)[0] == code(identifier.lower())[0]


@pytest.mark.parametrize(
    "name", ["os.path.join", "numpy.linalg.norm", "std::vector", "self.assertEqual", "df.loc"]
)
def test_dotted_names_stay_whole(name):
    """A path of names is a term besides its names."""
    assert code(f"x = {name}(a)")[-1] == name.lower()


@pytest.mark.parametrize("text", ["3.14", "end.Begin", "a. b"])
def test_numbers_and_sentences_are_not_dotted(text):
    """A decimal number is none; a full stop between words without a space is."""
    assert any("." in term for term in code(text)) == (text == "end.Begin")
