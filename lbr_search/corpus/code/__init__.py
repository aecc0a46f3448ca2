"""Source code -> documents: functions, methods and classes of a whole repository."""
