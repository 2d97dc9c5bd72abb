"""The API reference, made from the protos and the policies: `python docs/api.py` writes docs/api/*.md; `--check` compares.

Comments of the protos are the text. Who may call an rpc comes from the service's policy.yaml.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

from carlien_common.grpc.policy import Policy

FOLDER = Path(__file__).parent / "api"
PROTOS = Path(__file__).parents[1] / "protos"
AREAS = {
    "lien": ("Lien registry", "carlien_lien_registry"),
    "pricing": ("Pricing", "carlien_pricing"),
    "telematics": ("Telematics", "carlien_telematics"),
    "valuation": ("Valuation", "carlien_valuation"),
}
# Where FileDescriptorProto, DescriptorProto, ServiceDescriptorProto and EnumDescriptorProto keep their parts.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _NESTED_MESSAGES, _NESTED_ENUMS = 2, 3, 4
_METHODS, _VALUES = 2, 2


class Comments:
    """The comments of one file by the path of what they stand above."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._texts = {tuple(place.path): " ".join(place.leading_comments.split()) for place in file.source_code_info.location}

    def of(self, *path: int) -> str:
        return self._texts.get(path, "").replace("|", "\\|")


def descriptors() -> FileDescriptorSet:
    """Every file of the protos, comments included."""
    built = subprocess.run([str(Path(sys.executable).parent / "buf"), "build", "-o", "-"], cwd=PROTOS, capture_output=True, check=True)
    return FileDescriptorSet.FromString(built.stdout)


def pages() -> dict[str, str]:
    """File name -> text."""
    files = sorted(descriptors().file, key=lambda file: file.name)
    made = {}
    for area, (title, package) in AREAS.items():
        mine = [file for file in files if file.package == f"carlien.{area}.v1"]
        made[f"{area}.md"] = "\n".join(_page(title, mine, Policy.load(package))) + "\n"
    return made


def _page(title: str, files: list[FileDescriptorProto], policy: Policy) -> Iterator[str]:
    yield f"# {title}: API reference"
    yield f"Made by `docs/api.py` from `protos/{files[0].package.replace('.', '/')}`; don't edit."
    yield "Errors, idempotency and identities are the same for all: [calling the services](../extend.md#calling-the-services)."
    for file in files:
        comments = Comments(file)
        for number, service in enumerate(file.service):
            yield from _service(file, service, comments, number, policy)
    yield "\n## Messages"
    for file in files:
        comments = Comments(file)
        for number, message in enumerate(file.message_type):
            yield from _message(message, message.name, comments, (_MESSAGES, number))
        for number, enum in enumerate(file.enum_type):
            yield from _enum(enum, enum.name, comments, (_ENUMS, number))


def _service(file: FileDescriptorProto, service: ServiceDescriptorProto, comments: Comments, number: int, policy: Policy) -> Iterator[str]:
    yield f"\n## {service.name}"
    yield f"`{file.package}.{service.name}`. {comments.of(_SERVICES, number)}\n"
    yield "| rpc | what it does | roles |"
    yield "|---|---|---|"
    for place, method in enumerate(service.method):
        roles = ", ".join(sorted(policy.roles(f"/{file.package}.{service.name}/{method.name}")))
        yield f"| **{method.name}**<br>{_shape(method)} | {comments.of(_SERVICES, number, _METHODS, place)} | {roles} |"


def _shape(method: MethodDescriptorProto) -> str:
    request, response = (_link(name) for name in (method.input_type, method.output_type))
    return f"{'stream ' * method.client_streaming}{request} → {'stream ' * method.server_streaming}{response}"


def _message(message: DescriptorProto, name: str, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield f"\n### {name}"
    if text := comments.of(*path):
        yield text
    if message.field:
        yield "\n| field | type | |"
        yield "|---|---|---|"
    maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    for place, field in enumerate(message.field):
        yield f"| `{field.name}` | {_type(field, maps)} | {comments.of(*path, _FIELDS, place)} |"
    for place, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from _message(nested, f"{name}.{nested.name}", comments, (*path, _NESTED_MESSAGES, place))
    for place, enum in enumerate(message.enum_type):
        yield from _enum(enum, f"{name}.{enum.name}", comments, (*path, _NESTED_ENUMS, place))


def _enum(enum: EnumDescriptorProto, name: str, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield f"\n### {name}"
    if text := comments.of(*path):
        yield text
    yield "\n| value | number | |"
    yield "|---|---|---|"
    for place, value in enumerate(enum.value):
        yield f"| `{value.name}` | {value.number} | {comments.of(*path, _VALUES, place)} |"


def _type(field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
    entry = maps.get(field.type_name.rpartition(".")[2])
    if entry is not None:
        return f"map<{_plain(entry.field[0])}, {_plain(entry.field[1])}>"
    label = "repeated " if field.label == FieldDescriptorProto.LABEL_REPEATED else "optional " if field.proto3_optional else ""
    return label + _plain(field)


def _plain(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return _link(field.type_name)
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _link(name: str) -> str:
    """A message or enum of these pages by its name there, another project's by its full name."""
    full = name.removeprefix(".")
    if not full.startswith("carlien."):
        return f"`{full}`"
    _, area, _, *short = full.split(".")
    text = ".".join(short)
    return f"[{text}]({area}.md#{text.lower().replace('.', '')})"


def _differing(made: dict[str, str]) -> Iterable[str]:
    present = {file.name for file in FOLDER.glob("*.md")}
    return sorted(name for name in present | made.keys() if not (FOLDER / name).is_file() or (FOLDER / name).read_text() != made.get(name))


def main() -> int:
    """Write or compare; 1 where the pages aren't what the protos say."""
    made = pages()
    if "--check" in sys.argv[1:]:
        stale = list(_differing(made))
        for name in stale:
            sys.stdout.write(f"docs/api/{name} isn't what the protos say: run `make docs`\n")
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for name, text in made.items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
