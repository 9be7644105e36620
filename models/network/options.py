"""Checks that mixers share for the options they are given."""

from __future__ import annotations

from collections.abc import Sequence

from models.network.spec import BlockConfig


def odd_kernel(kernel_size: int) -> int:
    """Return the kernel size.

    Raises:
        ValueError: it is even or below 1, so that no position would stand in its middle.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and at least 1, not {kernel_size}")
    return kernel_size


def resolve_groups(dim: int, groups: int | None, group_channels: int | None, default: int) -> int:
    """Return number of groups of channels that share weights, from either way of saying it.

    Args:
        dim: channels C of the stage.
        groups: number of groups, or None.
        group_channels: channels in a group, or None.
        default: number of groups if neither is given.

    Raises:
        ValueError: both are given, or they do not divide C.
    """
    if groups is not None and group_channels is not None:
        raise ValueError("give groups or group_channels, not both: one follows from the other")
    if group_channels is not None:
        if group_channels < 1 or dim % group_channels:
            raise ValueError(
                f"group_channels={group_channels} does not divide the {dim} channels of a stage"
            )
        return dim // group_channels

    number = default if groups is None else groups
    if number < 1 or dim % number:
        raise ValueError(
            f"groups={number} does not divide the {dim} channels of a stage; give groups that do"
        )
    return number


def only_map_size(
    mixer: str, size: Sequence[int], built: Sequence[int], image_size: Sequence[int]
) -> None:
    """Lets pass the one map that weights per position were built for.

    Raises:
        ValueError: another size; the sentence names the mixer, both sizes and what to do.
    """
    if tuple(size) != tuple(built):
        raise ValueError(
            f"{mixer} has weights for every position of a {built[0]}x{built[1]} map (images of "
            f"{image_size[0]}x{image_size[1]} pixels) and cannot take a map of "
            f"{size[0]}x{size[1]}; "
            "build it with image_size= the images' size"
        )


def heads_of(place: BlockConfig, group_channels: int | None) -> int:
    """Attention heads of a stage: those of the size, or one for every `group_channels` channels.

    Raises:
        ValueError: `group_channels` does not divide C.
    """
    if group_channels is None:
        return place.heads
    return resolve_groups(place.dim, None, group_channels, default=place.heads)


def head_channels(dim: int, heads: int) -> int:
    """Channels of one attention head.

    Raises:
        ValueError: `heads` does not divide C.
    """
    if dim % heads:
        raise ValueError(
            f"num_heads={heads} does not divide the {dim} channels of a stage; give num_heads "
            "that do"
        )
    return dim // heads
