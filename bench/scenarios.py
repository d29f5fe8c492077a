"""What is measured. The letters are those of `docs/performance.md`."""

import contexts


class Scenario:
    """One build, and what happens before it.

    `prepare(directory, scale)` makes the context. A scenario is cold, on an
    empty store, unless it has `warm`: "here", the same build under the same
    name; or a function that makes another context, which is built under another
    name. Then comes `change(directory)`. With `fresh_store` the store is emptied
    again: what is left is what the remote cache has, which the build before wrote. `bases` are what the
    registry must have beside the ordinary base. `together` is how many builds
    run at once.

    `ours` are scenarios that only kiln has: another builder has no layer
    indexes, so its cost is that of scenario `others`."""

    def __init__(self, key, title, prepare, warm=None, change=None, bases=(), compression="gzip",
                 remote_cache=False, fresh_store=False, together=1, others=None, link=False,
                 keep_context=True):
        self.key, self.title, self.prepare = key, title, prepare
        self.warm, self.change, self.bases = warm, change, bases
        self.compression, self.remote_cache = compression, remote_cache
        self.fresh_store, self.together, self.others = fresh_store, together, others
        self.link, self.keep_context = link, keep_context


BIG, MILLION = ("big:1",), ("million:1",)

SCENARIOS = [
    Scenario("a", "nothing changed, ten steps", contexts.ten_steps, warm="here"),
    Scenario("b", "last COPY changed", contexts.ten_steps, warm="here",
             change=contexts.change_last_copy, keep_context=False),
    Scenario("c", "57,144 files, cold", contexts.node_modules),
    Scenario("c-zstd", "57,144 files, cold, zstd", contexts.node_modules, compression="zstd"),
    Scenario("d", "ten RUN, cold", contexts.runs(10)),
    Scenario("e", "four stages, cold", contexts.four_stages),
    Scenario("f", "6.9 GB base: RUN and COPY, cold", contexts.RUN_ON_BIG, bases=BIG),
    Scenario("f-known", "RUN and COPY on it, index known", contexts.RUN_ON_BIG, bases=BIG,
             warm=contexts.ANOTHER_ON_BIG, others="f"),
    Scenario("f-shared", "fresh machine, index in the cache", contexts.RUN_ON_BIG, bases=BIG,
             warm=contexts.ANOTHER_ON_BIG, remote_cache=True, fresh_store=True, others="f"),
    Scenario("g", "6.9 GB base: WORKDIR, COPY, cold", contexts.COPY_ON_BIG, bases=BIG),
    Scenario("g-known", "WORKDIR and COPY, index known", contexts.COPY_ON_BIG, bases=BIG,
             warm=contexts.ANOTHER_ON_BIG, others="g"),
    Scenario("gl", "6.9 GB base: COPY --link, cold", contexts.LINK_ON_BIG, bases=BIG, link=True),
    Scenario("gm", "6.9 GB base: ENV and LABEL, cold", contexts.WORDS_ON_BIG, bases=BIG),
    Scenario("h", "RUN writes 3 GB, cold", contexts.much_written),
    Scenario("i", "fresh machine, remote cache", contexts.ten_steps, warm="here",
             remote_cache=True, fresh_store=True),
    Scenario("i-fifty", "fresh machine, fifty steps", contexts.fifty_steps, warm="here",
             remote_cache=True, fresh_store=True),
    Scenario("j", "200,000 ignored files, cold", contexts.many_ignored),
    Scenario("fifty", "nothing changed, fifty steps", contexts.fifty_steps, warm="here"),
    Scenario("one", "COPY --from=6.9 GB: a file, cold", contexts.one_file_of_big, bases=BIG),
    Scenario("one-known", "a file of 6.9 GB, index known", contexts.one_file_of_big, bases=BIG,
             warm=contexts.ANOTHER_ON_BIG, others="one"),
    Scenario("million", "1,000,000 files: RUN touch, cold", contexts.touch_on_million,
             bases=MILLION),
    Scenario("million-known", "RUN touch on it, index known", contexts.touch_on_million, bases=MILLION,
             warm=contexts.another_on_million, others="million"),
    Scenario("crowd", "20 builds at once on one store", contexts.ten_steps_of_many,
             together=20),
]
