"""Chemical words -> morphemes, by longest match over a list of what systematic names are made of.

The list holds facts of the IUPAC recommendations 2013 (Blue Book): multiplying prefixes (P-14.2),
parent hydrides (P-21, P-22, P-25), endings of saturation and of characteristic groups (P-31, P-33),
prefixes of substituents (appendix 2), and the carbohydrates and stereodescriptors of P-93 and
P-102. Forms of one morpheme share a canonical one: ``mercapto`` is ``sulfanyl``.
"""

from __future__ import annotations

from collections.abc import Mapping

from lbr_search.terms.retained import RETAINED_NAMES

MULTIPLIERS = """
mono di tri tetra penta hexa hepta octa nona deca undeca dodeca trideca tetradeca hexadeca octadeca
icosa=icos eicosa=icos bis=di tris=tri tetrakis=tetra pentakis=penta hexakis=hexa
hemi sesqui per poly oligo
"""
PARENTS = """
meth eth prop but pent hex hept oct non dec undec dodec tridec tetradec pentadec hexadec heptadec
octadec nonadec icos eicos=icos icosa=icos henicos docos tricos tetracos pentacos hexacos octacos
triacont
cyclo bicyclo tricyclo spiro iso neo sec tert homo nor seco
benz=benzene benzen=benzene benzene phenyl=benzene phen=benzene phenol=benzene+ol
phenoxy=benzene+oxy benzyl=benzene+methyl tolyl=benzene+methyl xylyl=benzene+dimethyl
naphth=naphthalene naphthal=naphthalene naphthalen=naphthalene anthrac=anthracene
anthracen=anthracene phenanthr=phenanthrene phenanthren=phenanthrene tetracen=tetracene
naphthacen=tetracene pyren chrysen fluoren inden indan azulen biphenyl=benzene+biphenyl perylen
fluoranthen acenaphth acenaphthylen triphenylen pentacen coronen
pyridin=pyridine pyrid=pyridine pyridyl=pyridine piperidin=piperidine piperid=piperidine
pyrimidin=pyrimidine pyrimid=pyrimidine pyrazin pyridazin piperazin triazin tetrazin
pyrrol=pyrrole pyrrolidin=pyrrolidine pyrrolidon=pyrrolidine+one pyrazol imidazol imidazolidin
triazol tetrazol oxazol isoxazol=oxazol+iso thiazol thiazolidin isothiazol oxadiazol thiadiazol
indol=indole indolin=indole isoindol quinolin=quinoline quinol=quinoline isoquinolin=quinoline+iso
quinazolin quinoxalin cinnolin phthalazin naphthyridin pteridin pterin=pteridin purin=purine
acridin phenazin phenothiazin phenoxazin carbazol carbolin porphyrin porphin chlorin corrin
furan fur=furan furyl=furan tetrahydrofuran=furan+tetra+hydro thiophen thien=thiophen
thienyl=thiophen pyran chromen=chromene chroman=chromene benzopyran=chromene
benzofuran=furan+benzene
xanthen morpholin dioxan dioxol oxiran oxetan aziridin azetidin thiiran oxolan=furan oxan=pyran
azepin diazepin azepan oxepin phenanthridin phenanthrolin bipyridin=pyridine+bipyridin
azabicyclo oxa thia aza sila bora phospha selena
gona estra=estran estran androsta=androstan androst=androstan androstan pregna=pregnan
pregn=pregnan pregnan chola=cholan chol=cholan cholan cholesta=cholestan cholest=cholestan
cholestan ergosta ergost stigmasta stigmast lanosta furosta spirosta carda bufa
penam penem cepham cephem cef=cephem ceph=cephem adamant norborn bornan camph pinan menth
lup olean urs gibb kaur lab abiet caroten retin tropan morphin morphinan ergolin yohimban
flavan=chromene+benzene flavyl=chromene
silan germanan stannan plumban boran phosphan arsan stiban bismuthan sulfan selan tellan
oxidan azan diazan
"""
CARBOHYDRATES = """
gluco=gluc gluc glucos=gluc galacto=galact galact galactos=galact manno=mann mann mannos=mann
fructo=fruct fruct fructos=fruct ribo=rib rib ribos=rib xylo=xyl xyl xylos=xyl arabino=arabin
arabin arabinos=arabin lyxo=lyx allo altro gulo ido talo talos erythro=erythr erythr threo=thre
rhamno=rhamn rhamn rhamnos=rhamn fuco=fuc fuc fucos=fuc sorb lact lactos=lact malt maltos=malt
sucros=sucr cellob trehalos=trehal trehal raffin neuramin sial muram
glycero glyco=glyc glyc glycos=glyc pyranos=pyran furanos=furan pyranosid=pyran+oside
furanosid=furan+oside osid=oside hexos pentos tetros trios aldos ketos aldon uron ulos ulosaminic
deoxy desoxy=deoxy anhydro inositol inosit saccharid=saccharide saccharide glycan
nucleosid=nucleoside nucleotid=nucleotide deoxyribo=deoxy+rib
"""
GROUPS = """
hydroxy hydroxyl=hydroxy oxo keto=oxo oxy oxid oxide=oxid hydro dehydro didehydro=dehydro+di
hydrido=hydro hydrid=hydro amino amin=amine amine ammonio=azanium ammonium=azanium
azaniumyl=azanium azanium ammin=ammin imino imin=imine nitro nitroso nitrit nitrat azido azid azo
diazo diazonium hydrazin hydrazino hydrazono hydrazinyl hydraz hydroxamic amidin guanidin guanidino
amid=amide amide amido=amide carboxamid=carboxyl+amide carboxamido=carboxyl+amide
carbamoyl=carbamo carbam=carbamo ureid carbonyl carboxy=carboxyl carboxyl carbox=carboxyl
carboxylato=carboxyl+ate carbaldehyd=aldehyde aldehyd=aldehyde aldehyde formyl=aldehyde
carbonitril=nitrile nitril=nitrile cyano=nitrile cyanid=nitrile isocyan cyanat thiocyan
cyanamid carbonic carbonat bicarbonat
thio thiol=sulfanyl sulfanyl mercapto=sulfanyl mercaptan=sulfanyl sulfid=sulfid sulfido=sulfid
disulfid=di+sulfid sulfon=sulfon sulfonyl=sulfon sulfonic=sulfon+ic sulfonat=sulfon+ate
sulfin sulfinyl=sulfin sulfo=sulfon sulfur sulfuric sulfat=sulfate sulfate sulfit sulfenyl sulfam
sulfoxid sulfonamid=sulfon+amide sulfonium thion thioxo=thion
phospho=phosph phosph phosphono=phosphon phosphon phosphoryl=phosph phosphat=phosphate phosphate
phosphit phosphin phosphonat=phosphon+ate phosphonato=phosphon+ate phosphinato
diphosphat=di+phosphate
triphosphat=tri+phosphate monophosphat=mono+phosphate bisphosphat=di+phosphate
pyrophosph=di+phosphate
phosphonium phosphanyl phosphatidyl phosphatid
fluor=fluoro fluoro fluorid=fluoro chlor=chloro chloro chlorid=chloro chlorido=chloro
brom=bromo bromo bromid=bromo iod=iodo iodo iodid=iodo halo halogen perchlor perchlorat chlorat
bromat iodat hypochlor silyl siloxan silicat boron borat arsen arsenat selen selanyl tellur
methoxy=meth+oxy ethoxy=eth+oxy propoxy=prop+oxy butoxy=but+oxy alkoxy=alkyl+oxy acetoxy=acetyl+oxy
acetyl=ethano+yl acetamido=ethano+amide acetamid=ethano+amide
methylen=methylidene methyliden=methylidene methylidene ethylen=eth+diyl vinyl=eth+en allyl=prop+en
isopropyl=prop+iso isobutyl=but+iso acyl alkyl aryl alkan alken alkyn alkanoic aren
epoxy peroxy peroxid hydroperoxy ether ester lacton lactam lact anhydrid acetal ketal
alcohol=ol keton=one ketone=one quinon=quinone hydroquinon epoxid halid olefin=alken imid=imide
imido=imide maleimid thioether thioester
ammonia oxim semicarbazon carbazon carbanil benzoyl benzyliden
acid acidum=acid saeure=acid
"""
ENDINGS = """
an ane=an en ene=en yn yne=yn aen=en adien=di+en adiene=di+en atrien=tri+en atriene=tri+en
tetraen=tetra+en
ol olate=ol+ate olat=ol+ate diol=di+ol triol=tri+ol tetrol=tetra+ol al dial=di+al
one dion=di+one anon=an+one dione=di+one trione=tri+one
oic=oate oate oat=oate ic ate at=ate ation ite ous ide id yl ylidene=yliden yliden ylidyn diyl=di+yl
triyl=tri+yl oyl=oate+yl oxyl ium ylium uide ide amine amide imine nitrile thiol=sulfanyl
ino eno ano ato ito ido anyl ine in ose itol oside olide olid
"""
CHARGES = """
anion monoanion=mono+anion dianion=di+anion trianion=tri+anion tetraanion=tetra+anion
monocation=mono+cation dication=di+cation trication=tri+cation zwitterion
"""
DESCRIPTORS = """
alpha beta gamma delta epsilon omega cis trans syn anti meso rac ortho meta para exo endo levo
dextro
"""
METALS = """
lithium sodium natrium=sodium potassium kalium=potassium rubidium caesium cesium=caesium beryllium
magnesium calcium strontium barium aluminium aluminum=aluminium iron ferr=iron ferrous=iron
ferric=iron copper cupr=copper zinc silver argent=silver gold aur=gold mercur nickel cobalt
manganes chrom molybd molybdenum=molybd tungst wolfram=tungst vanad titan zircon platin
platinum=platin pallad rhod ruthen osm irid cadm tin stann=tin lead plumb=lead antimon bismuth
lanthan cerium uran thor gallium indium thall germanium
"""
SHORTEST_WORD = 6
"""Letters of a word that is taken apart."""
JOINING = frozenset("aeos")
"""Letters that stand between morphemes or at the end and mean nothing by themselves."""
MARK = "~"
"""Begins every morpheme among the terms: no word can equal one."""


def read(*lists: str) -> dict[str, tuple[str, ...]]:
    """Form -> its canonical morphemes, from words ``form`` or ``form=canon+canon``."""
    known = {}
    for word in " ".join(lists).split():
        form, _, canonical = word.partition("=")
        known[form] = tuple((canonical or form).split("+"))
    return known


STEMS = read(PARENTS, CARBOHYDRATES, GROUPS, CHARGES, METALS)
"""What a chemical word must hold one of: "distribution" is made of multipliers and endings."""
MORPHEMES = STEMS | read(MULTIPLIERS, ENDINGS, DESCRIPTORS)
FORMS: dict[str, list[str]] = {}
"""Every form by its first two letters."""
for _form in sorted(MORPHEMES.keys() | RETAINED_NAMES.keys()):
    FORMS.setdefault(_form[:2], []).append(_form)


def split(word: str, retained: Mapping[str, str] = RETAINED_NAMES) -> list[str]:
    """The forms that make up a lower-case word, or nothing where it is not made of them.

    Of all ways to cover the word the one with the fewest letters left over and then the fewest
    pieces is taken; only single joining vowels and a plural s may be left over.

    >>> split("dihydroxypropanoic")
    ['di', 'hydroxy', 'prop', 'an', 'oic']
    >>> split("determination")
    []
    """
    # place -> best way to cover word[:place]: (cost, start of the last piece)
    ways: dict[int, tuple[int, int]] = {0: (0, 0)}
    for start in range(len(word)):
        if start not in ways:
            continue
        cost = ways[start][0]
        for form in FORMS.get(word[start : start + 2], ()):
            if word.startswith(form, start):
                end = start + len(form)
                way = (cost + (1 if form in retained else 2), start)
                if (form in retained or form in MORPHEMES) and (end not in ways or way < ways[end]):
                    ways[end] = way
        way = (cost + LEFT_OVER, start)
        if start and word[start] in JOINING and (start + 1 not in ways or way < ways[start + 1]):
            ways[start + 1] = way
    pieces = _pieces(word, ways)
    is_chemical = any(piece in STEMS or piece in retained for piece in pieces)
    return pieces if is_chemical else []


LEFT_OVER = 3
"""Cost of a joining letter; that of a morpheme is 2, of a retained name 1."""


def _pieces(word: str, ways: Mapping[int, tuple[int, int]]) -> list[str]:
    """The pieces of the best way through the whole word; nothing where there is none."""
    pieces: list[str] = []
    end = len(word) if len(word) in ways else 0
    while end:
        start = ways[end][1]
        if end - start > 1:  # not a joining letter
            pieces.append(word[start:end])
        end = start
    return pieces[::-1]


def morphemes(word: str) -> list[str]:
    """Canonical morphemes of a lower-case word, each marked; retained names in systematic form.

    >>> morphemes("mercaptopropanoate"), morphemes("hello")
    (['~sulfanyl', '~prop', '~an', '~oate'], [])
    """
    if len(word) < SHORTEST_WORD:
        return []
    pieces: list[str] = []
    for piece in split(word):
        if piece in RETAINED_NAMES:
            pieces.extend(split(RETAINED_NAMES[piece], {}))
        else:
            pieces.append(piece)
    return [MARK + canonical for piece in pieces for canonical in MORPHEMES[piece]]
