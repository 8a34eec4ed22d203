"""The commands on caches: build teacher outputs; inspect, verify and delete those and decoded
images."""

from pathlib import Path

from cyclopts import App

from understudy.cli.checks import check_exists
from understudy.cli.options import AsJson

cache = App(
    name="cache",
    help="Manage cached teacher outputs and decoded images: build, inspect, verify, delete.",
    help_format="plaintext",
)


@cache.command
def build(
    run: Path, /, *, epochs: int | None = None, all_views: bool = False, device: str = "auto"
) -> None:
    """Compute a teacher's outputs for the views of a run's trainings, ahead of them.

    Args:
        run: a run's folder.
        epochs: how many epochs' views; the recipe's number by default.
        all_views: every view there is, if the augmentation has finitely many.
        device: auto, cpu, cuda or cuda:N.
    """
    check_exists(run)

    from understudy.runs.warm_cache import build_cache
    from understudy.terminal.progress import CountDisplay

    with CountDisplay("labelling") as display:
        built = build_cache(
            run, epochs=epochs, all_views=all_views, device=device, observer=display
        )
    print(f"{built['labelled']:,} views labelled")
    for folder in built["folders"]:
        print(f"Cache: {folder}")


@cache.command
def inspect(name: str | None = None, /, *, as_json: AsJson = False) -> None:
    """List the caches, or show what one was made of and how full it is.

    Args:
        name: a cache's folder, or the beginning of its name.
        as_json: print JSON.
    """
    from understudy.data.cache_admin import describe, find_images, list_images
    from understudy.files import to_json
    from understudy.teachers.cache_admin import find_cache, inspect_cache, list_caches
    from understudy.terminal.tables import print_json, print_list, print_record, without

    if name is not None:
        images = find_images(name)
        entry = to_json(describe(images)) if images else inspect_cache(find_cache(name))
        print_record(entry, as_json)
        return
    outputs = [without(entry, "parts") for entry in list_caches()]
    decoded = [to_json(entry) for entry in list_images()]
    if as_json:
        print_json([*outputs, *decoded])
        return
    if not outputs and not decoded:
        print("there are no cached teacher outputs or decoded images yet")
    for title, entries in (("Teacher outputs", outputs), ("Decoded images", decoded)):
        if entries:
            print(f"{title}, in {Path(entries[0]['folder']).parent}")
            print_list([without(entry, "folder") for entry in entries], as_json)


@cache.command
def verify(name: str, /, *, run: Path | None = None, device: str = "auto") -> None:
    """Check the checksum of every cached row and, given its run, some rows against the teacher.

    Args:
        name: a cache's folder, or the beginning of its name.
        run: the folder of a run that uses it.
        device: auto, cpu, cuda or cuda:N.
    """
    from understudy.runs.warm_cache import verify_cache
    from understudy.teachers.cache_admin import find_cache

    found = verify_cache(find_cache(name), run, device=device)
    print(f"{found['filled']:,} rows are sound, {found['empty']:,} are still empty")
    if found.get("compared"):
        print(
            f"{found['compared']:,} rows compared with the live teacher: "
            f"largest difference {found['largest_difference']:.2g}"
        )


@cache.command
def delete(name: str, /) -> None:
    """Delete a cache; it can be made again.

    Args:
        name: a cache's folder, or the beginning of its name.
    """
    from understudy.data.cache_admin import delete_images, find_images
    from understudy.teachers.cache_admin import delete_cache, find_cache

    images = find_images(name)
    folder = images or find_cache(name)
    freed = delete_images(folder) if images else delete_cache(folder)
    print(f"{folder} deleted, {freed / 2**20:,.1f} MB freed")
