"""A trained system in other programs' formats.

forms.py      what a system offers for export: its towers, and functions of tensors
document.py   the forms of a document encoder, for every recipe that searches with one
towers.py     a tower as a model folder of transformers, and whether it loads back
graphs.py     a function as an ONNX file, and whether ONNX Runtime gives our numbers
card.py       README.md of the folder
"""
