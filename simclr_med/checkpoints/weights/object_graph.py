"""The tree of objects that TensorFlow 2 stores with the variables of a checkpoint or SavedModel.

A variable's key is its way from the root on the shortest path, whichever that was when it was
saved: in SimCLR's SavedModels it is `trainable_variables_list/17`. The tree has the other ways too.
Only `variables/` of a SavedModel is read; its graph is never run.
"""

from __future__ import annotations

from collections import deque

import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Lists in which Keras and SavedModels name all variables below an object once more, on a shorter way.
_SECOND_NAMES = {"keras_api", "trainable_variables", "variables"}


class ObjectGraph:
    """Objects, the names by which they hold each other, and the keys of variables.

    Args:
      reader: of a checkpoint, from `tf.train.load_checkpoint`.
    """

    def __init__(self, reader):
        self._proto = trackable_object_graph_pb2.TrackableObjectGraph()
        self._proto.ParseFromString(reader.get_tensor(_KEY))

    @staticmethod
    def is_in(reader) -> bool:
        """Returns whether the checkpoint has one; those of TensorFlow 1 have none."""
        return reader.has_tensor(_KEY)

    def find(self, way: str) -> int | None:
        """Returns the node nearest to the root from which names lead on, as 'encoder/stem'."""
        for _, node in self._walk(0):
            if self._follow(node, way.split("/")):
                return node
        return None

    def _follow(self, node: int, names: list[str]) -> bool:
        if not names:
            return True
        children = {child.local_name: child.node_id for child in self._proto.nodes[node].children}
        return names[0] in children and self._follow(children[names[0]], names[1:])

    def variables(self, root: int) -> dict[str, str]:
        """Returns {way from the node to a variable, as 'stem/conv/kernel': its key}."""
        return {
            path: attribute.checkpoint_key
            for path, node in self._walk(root)
            for attribute in self._proto.nodes[node].attributes
            if attribute.name == "VARIABLE_VALUE"
        }

    def names(self) -> dict[str, str]:
        """Returns {key of a variable: name that it had in TensorFlow}, of all that have one."""
        return {
            attribute.checkpoint_key: attribute.full_name
            for node in self._proto.nodes
            for attribute in node.attributes
            if attribute.name == "VARIABLE_VALUE" and attribute.full_name
        }

    def _walk(self, root: int):
        """Yields (path, node) breadth first, each node once, on its shortest path."""
        seen, queue = {root}, deque([("", root)])
        while queue:
            path, node = queue.popleft()
            yield path, node
            for child in self._proto.nodes[node].children:
                if child.node_id in seen or child.local_name in _SECOND_NAMES:
                    continue
                seen.add(child.node_id)
                name = child.local_name
                queue.append((f"{path}/{name}" if path else name, child.node_id))


def names_of_variables(model) -> dict[str, tf.Variable]:
    """Returns {way from a built model to a variable: variable}, the names that checkpoints have."""
    view = tf.train.TrackableView(model)
    variables, seen, queue = {}, {id(model)}, deque([("", model)])
    while queue:
        path, node = queue.popleft()
        for name, child in view.children(node).items():
            if id(child) in seen:
                continue
            seen.add(id(child))
            own_path = f"{path}/{name}" if path else name
            queue.append((own_path, child))
            if isinstance(child, tf.Variable):
                variables[own_path] = child
    return variables
