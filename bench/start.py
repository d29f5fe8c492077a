"""What it costs to start a builder that then has next to nothing to do."""

import contexts

TITLE = "cold start of the program: its version, and a build of nothing"
TIMES = 50


def cost(session, builder):
    """Costs of one start, the mean of many."""
    directory = session.context("nothing", contexts.nothing)
    times = TIMES if session.scale >= 1 else 2
    try:
        builder.store.clear()
        version = session.run(builder, [again(builder.version_command(), times)])
        found = {"version": {field: version[field] / times for field in ("cpu", "wall")}}
        found["version"]["rss"] = version["rss"]
        if builder.name == "kiln":
            command = builder.command_of_nothing(directory)
            session.run(builder, [command])
            nothing = session.run(builder, [again(command, times)])
            found["nothing"] = {field: nothing[field] / times for field in ("cpu", "wall")}
            found["nothing"]["rss"] = nothing["rss"]
        return found
    finally:
        builder.close()


def again(command, times):
    """The command many times: one start is shorter than a clock's tick."""
    script = 'n=$1; shift; while [ "$n" -gt 0 ]; do "$@" >/dev/null || exit 1; n=$((n - 1)); done'
    return ["sh", "-c", script, "again", str(times), *command]
