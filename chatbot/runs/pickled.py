"""Pickles looked through before torch reads them: only plain data and tensors pass, within the bytes that are there.

`scan` goes through a pickle's operations as `torch.load(weights_only=True)` would, and makes nothing of them but what
has to be compared: numbers, text, tuples and the sizes of storages. What passes can neither run anything, nor ask for
more memory than a small multiple of its own size, nor keep a reader busy: keys of dictionaries are text and numbers,
which are hashed at once, and every tensor lies inside its storage.
"""

import pickletools
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

from ..system.errors import ChatbotError, shown

MOST_OPERATIONS = 1 << 22  # some 16 for each word of the largest vocabulary, in the tutorial's three dictionaries
MOST_VALUES = 1 << 16  # at once on the stack; a pickler writes lists and dictionaries by the thousand
MOST_DIMENSIONS = 8
MOST_NUMBER = 1 << 128  # files of torch before 1.6 begin with one of 77 bits
ITEMS = {  # bytes of a number
    "FloatStorage": 4,
    "DoubleStorage": 8,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
}


class Storage(NamedTuple):
    """The bytes of tensors, by their name in the archive: how many numbers, of how many bytes each."""

    key: str
    numbers: int
    item: int


@dataclass(frozen=True)
class _Global:
    name: str


# values of which only the kind matters; each is itself and equal to nothing else, a tuple of the file's least of all
MARK, LIST, DICT, ORDERED, TENSOR, OTHER = (object() for _ in range(6))
ORDERED_DICT = _Global("collections OrderedDict")
REBUILD = _Global("torch._utils _rebuild_tensor_v2")
PARAMETER = _Global("torch._utils _rebuild_parameter")
GLOBALS = {ORDERED_DICT, REBUILD, PARAMETER, *(_Global(f"torch {name}") for name in ITEMS)}
NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1"}
TEXTS = {"BINUNICODE", "SHORT_BINSTRING"}
OTHERS = {"NONE", "NEWTRUE", "NEWFALSE", "BINFLOAT"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def scan(file: IO[bytes]) -> list[Storage]:
    """Go through one pickle, from where an open file stands to the pickle's end.

    Returns:
        the storages that its tensors lie in, each as often as it is named.

    Raises:
        ChatbotError: it holds something else than plain data and tensors, or more of it than any checkpoint.
        Exception: it is damaged (any kind of exception).
    """
    scanned = _Scan()
    for count, (operation, argument, _) in enumerate(pickletools.genops(file)):
        if count > MOST_OPERATIONS:
            raise ChatbotError(f"its pickle has over {MOST_OPERATIONS:,} operations, more than any checkpoint")
        scanned.take(operation.name, argument)
        if len(scanned.stack) > MOST_VALUES:
            raise ChatbotError(f"its pickle has over {MOST_VALUES:,} values at once, more than any checkpoint")
    return scanned.storages


class _Scan:
    """The stack and the memo of a reader that makes nothing."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: list[Storage] = []

    def take(self, name: str, argument: Any) -> None:
        """Do what one operation does to the stack."""
        stack = self.stack
        if name in NUMBERS:
            if abs(argument) >= MOST_NUMBER:
                raise ChatbotError("its pickle has a number of over 128 bits")
            stack.append(argument)
        elif name in TEXTS:
            stack.append(argument)
        elif name in OTHERS:
            stack.append(OTHER)
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MARK":
            stack.append(MARK)
        elif name == "EMPTY_LIST":
            stack.append(LIST)
        elif name == "EMPTY_DICT":
            stack.append(DICT)
        elif name == "EMPTY_TUPLE":
            stack.append(())
        elif name in TUPLES:
            stack.append(self._tuple(self._pop(TUPLES[name])))
        elif name == "TUPLE":
            stack.append(self._tuple(self._pop_to_mark()))
        elif name in ("APPEND", "APPENDS"):
            self._pop(1) if name == "APPEND" else self._pop_to_mark()
            self._require(stack[-1] is LIST, "an append to no list")
        elif name in ("SETITEM", "SETITEMS"):
            items = self._pop(2) if name == "SETITEM" else self._pop_to_mark()
            keys = all(type(key) in (str, int) for key in items[::2])
            self._require(keys and len(items) % 2 == 0, "a dictionary with keys that are neither text nor numbers")
            self._require(stack[-1] is DICT or stack[-1] is ORDERED, "an item of no dictionary")
        elif name == "GLOBAL":
            self._require(_Global(argument) in GLOBALS, f"GLOBAL {shown(argument.replace(' ', '.'))}")
            stack.append(_Global(argument))
        elif name == "REDUCE":
            function, arguments = self._pop(2)
            self._require(type(arguments) is tuple, "a call without arguments")
            stack.append(self._called(function, arguments))
        elif name == "BINPERSID":
            stack.append(self._storage(self._pop(1)[0]))
        elif name == "BUILD":  # a state dict of torch keeps its versions so
            state = self._pop(1)[0]
            self._require(state is DICT and stack[-1] is ORDERED, "an object with a state of its own")
        elif name not in ("PROTO", "STOP"):
            self._require(False, f"the operation {name}")

    def _require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise ChatbotError(f"it holds more than plain data ({otherwise}), and nothing in it was run")

    def _pop(self, count: int) -> list[Any]:
        items = self.stack[-count:]
        if len(items) < count or MARK in items:
            raise ValueError("a pickle that takes more than it has")
        del self.stack[-count:]
        return items

    def _pop_to_mark(self) -> list[Any]:
        start = len(self.stack) - 1
        while self.stack[start] is not MARK:  # an IndexError in the end, if there is none
            start -= 1
            if start < 0:
                raise ValueError("a pickle without a mark")
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def _tuple(self, items: list[Any]) -> Any:
        """Sizes, strides, arguments: no tuple of these has many items, and none of others is looked into."""
        return tuple(items) if len(items) <= MOST_DIMENSIONS else OTHER

    def _called(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        if function == ORDERED_DICT:
            self._require(arguments == (), "a dictionary made of something")
            return ORDERED
        if function == PARAMETER:
            self._require(len(arguments) == 3 and arguments[0] is TENSOR, "a parameter of no tensor")
            return TENSOR
        self._require(function == REBUILD and len(arguments) == 6, "a call of what is no function")
        storage, offset, size, stride, _, hooks = arguments
        self._require(hooks is ORDERED, "a tensor with hooks")
        numbers = all(type(of) is tuple and all(type(one) is int and one >= 0 for one in of) for of in (size, stride))
        self._require(type(storage) is Storage and type(offset) is int and offset >= 0 and numbers, "an odd tensor")
        end = offset + (0 if 0 in size else 1 + sum((n - 1) * by for n, by in zip(size, stride, strict=True)))
        if end > storage.numbers:
            raise ChatbotError("it has a tensor that is larger than the numbers that are there for it")
        return TENSOR

    def _storage(self, name: Any) -> Storage:
        """`("storage", kind, key, device, count)`; files of torch before 1.6 have a sixth, of tensors in tensors."""
        self._require(type(name) is tuple and len(name) in (5, 6) and name[0] == "storage", "a reference")
        kind, key, _, count = name[1:5]
        item = ITEMS.get(kind.name.removeprefix("torch ")) if type(kind) is _Global else None
        self._require(item is not None and type(key) is str and type(count) is int and count >= 0, "an odd storage")
        self._require(name[5:] in ((), (OTHER,)), "a view of a storage")
        assert item is not None
        self.storages.append(Storage(key, count, item))
        return self.storages[-1]
