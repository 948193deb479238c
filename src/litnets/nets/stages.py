"""The stages of a network, which can be frozen and can have their own learning rates."""

from typing import NamedTuple, Protocol, runtime_checkable

from torch import nn


class Stage(NamedTuple):
    """Consecutive layers of a network."""

    name: str
    parameters: list[nn.Parameter]
    modules: list[nn.Module]  # including those inside others


@runtime_checkable
class PartsInOrder(Protocol):
    """A network whose parts are not defined in the order in which they run, such as a bidirectional RNN."""

    def parts_in_order(self) -> dict[str, list[nn.Module]]:
        """Return the parts from the input to the output. Each becomes one stage."""
        ...


def stages(net: nn.Module) -> list[Stage]:
    """Return the stages of a network, from the output to the input.

    The rule fits the networks of litnets, torchvision and timm, and most others:

    - The parts of a network are its children in the order of their definition. A child whose name contains a digit
      (`layer4`, `features.3`) is one part; any other child (`features`, `encoder`) is replaced by its own children.
    - Every part with a matrix or filters begins a stage. A part that has only vectors, such as normalization, belongs
      to the stage before it. Parameters of a module itself, such as a class token, belong to the first of its parts.
    - A stage is named after its first part with a matrix or filters, as in the state_dict, but without the name of a
      module around the entire network (`backbone`). The last stage is the `head`.

    A parameter that several stages share belongs to the last of them.

        [stage.name for stage in stages(TorchvisionNet(3, 10, "resnet18"))]
        # ["head", "layer4", "layer3", "layer2", "layer1", "conv1"]
    """
    in_order: list[Stage] = []
    for part in _parts(_unwrap(net)):
        begins_stage = _has_weights(part) and (not in_order or _has_weights(in_order[-1]))
        if in_order and not begins_stage:
            previous = in_order.pop()
            name = part.name if _has_weights(part) else previous.name
            part = Stage(name, previous.parameters + part.parameters, previous.modules + part.modules)
        in_order.append(part)
    names = [stage.name for stage in in_order]
    start = names.index("head") if "head" in names else len(in_order) - 1
    parameters = [parameter for stage in in_order[start:] for parameter in stage.parameters]
    head = Stage("head", parameters, [module for stage in in_order[start:] for module in stage.modules])
    return _without_shared([head, *reversed(in_order[:start])])


def _unwrap(net: nn.Module) -> nn.Module:
    """Return the network inside modules that contain nothing else, such as the `backbone` of a TorchvisionNet."""
    while True:
        children = {name: child for name, child in _children(net).items() if list(child.parameters())}
        if len(children) != 1 or isinstance(net, PartsInOrder) or list(net.parameters(recurse=False)):
            return net
        (child,) = children.values()
        if not _children(child) or isinstance(child, nn.Sequential | nn.ModuleList):
            return net
        net = child


def _parts(module: nn.Module, name: str = "") -> list[Stage]:
    """Return the parts of a module from the input to the output."""
    prefix = f"{name}." if name else ""
    if isinstance(module, PartsInOrder):
        return [_part(prefix + key, *modules) for key, modules in module.parts_in_order().items()]
    children = _children(module)
    if not children or any(character.isdigit() for character in name.rpartition(".")[2]):
        return [_part(name, module)]
    first, *others = [part for key, child in children.items() for part in _parts(child, prefix + key)]
    direct = list(module.parameters(recurse=False))
    return [first._replace(parameters=direct + first.parameters), *others]


def _part(name: str, *modules: nn.Module) -> Stage:
    parameters = [parameter for module in modules for parameter in module.parameters()]
    return Stage(name, parameters, [part for module in modules for part in module.modules()])


def _children(module: nn.Module) -> dict[str, nn.Module]:
    """Return the children that have parameters or buffers."""
    return {name: child for name, child in module.named_children() if [*child.parameters(), *child.buffers()]}


def _has_weights(part: Stage) -> bool:
    return any(parameter.ndim >= 2 for parameter in part.parameters)


def _without_shared(from_head: list[Stage]) -> list[Stage]:
    seen: set[nn.Parameter] = set()
    result = []
    for stage in from_head:
        parameters = [p for p in dict.fromkeys(stage.parameters) if p not in seen]
        seen.update(parameters)
        result.append(stage._replace(parameters=parameters))
    return result
