"""A model, or an optimizer, as the tree of names under which a checkpoint holds its variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def copy_tree(root: Any, leaf: Callable[[tf.Variable], tf.Variable]) -> tf.Module:
    """Returns a tree with the names below `root`, and no behaviour.

    Args:
      root: what tf.train.Checkpoint can save, with a variable below it.
      leaf: gives what takes the place of a variable; called once for each.
    """
    view = tf.train.TrackableView(root)
    copies: dict[int, Any] = {}
    alive = []  # some nodes are created on access, and an id is valid only while its node is alive

    def copy(node):
        """Returns None for what holds no variable."""
        if id(node) not in copies:
            alive.append(node)
            if isinstance(node, tf.Variable):
                copies[id(node)] = leaf(node)
            else:
                copies[id(node)] = None  # in case a node is below itself
                children = {name: copy(child) for name, child in view.children(node).items()}
                children = {name: child for name, child in children.items() if child is not None}
                copies[id(node)] = tf.Module() if children else None
                for name, child in children.items():
                    setattr(copies[id(node)], name, child)
        return copies[id(node)]

    return copy(root)


def copy_values(source: Any, target: Any) -> None:
    """Assigns the values of the variables below `source` to those below `target`.

    Args:
      source: root of a tree of objects with variables.
      target: root of a tree of the same structure, as `copy_tree` makes it.
    """
    for new, variable in zip(_variables(source), _variables(target), strict=True):
        variable.assign(new)


def _variables(root: Any) -> list[tf.Variable]:
    variables: list[tf.Variable] = []

    def note(variable):
        variables.append(variable)
        return variable

    copy_tree(root, note)
    return variables
