"""A YAML loader for untrusted files: bounds on depth, aliases and numbers, and no duplicate keys."""

from __future__ import annotations

from typing import Any

import yaml

from bemerc.core.terminal import printable

# A params file of this project has 400 values.
MAX_DEPTH = 20
MAX_VALUES = 50_000
_MAX_DIGITS = 100


class BoundedLoader(yaml.SafeLoader):
    """A SafeLoader that bounds nesting and the expansion of aliases, and refuses duplicate keys."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        try:
            if self._depth > MAX_DEPTH:
                raise yaml.YAMLError(f"it is nested deeper than {MAX_DEPTH} levels")
            node = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        if (
            isinstance(node, yaml.ScalarNode)
            and node.tag.endswith((":int", ":float"))
            and len(node.value) > _MAX_DIGITS
        ):
            raise yaml.YAMLError(f"it holds a number of {len(node.value)} digits")
        return node

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _expanded_size(node, {}) > MAX_VALUES:
            raise yaml.YAMLError(f"its aliases expand to more than {MAX_VALUES:,} values")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in keys:
                    problem = f"duplicate key '{printable(key.value, 60)}'"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                keys.add(key.value)
        return super().construct_mapping(node, deep)


def _expanded_size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Number of values in a node with all aliases expanded; above MAX_VALUES for a node that contains itself.

    ``sizes``: id of a node -> its size, of the nodes visited before.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in sizes:
        sizes[id(node)] = MAX_VALUES + 1  # what an alias within the node itself gets
        children = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        sizes[id(node)] = 1 + sum(_expanded_size(child, sizes) for child in children)
    return sizes[id(node)]
