"""Exports: a checkpoint comes in; out comes a folder that answers without this package, as `chatbot.pt` (TorchScript,
text to text, for Python with torch alone or C++) or as ONNX files (ids to ids, in float32 or 8 bits), with a
manifest.json of digests and golden replies. proof.py compares every file with the model before it is kept. Read
torchscript.py first (`export`, `load_bundle`), then bundle.py, what it compiles; for ONNX read onnx.py.
"""
