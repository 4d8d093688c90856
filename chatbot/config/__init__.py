"""Every setting of the program. In come flags that a person types and `config.json` files; out come frozen dataclasses
with every value checked against its type and its bounds. Read `settings.py` first: one field for each setting, with its
help text. `presets.py` names the combinations that are known to work, and `arguments.py` lists the verbs of the command
line and makes a flag of each field.
"""
