"""Topics as users meet them: functions that read them and publish on them, publishing by command and over HTTP, strangers
with a NATS client of their own. Everything but the last runs on the embedded log and on NATS."""
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import urllib.parse

import harness
from nats_server import OnNats

SHOUT = {"name": "shout", "script": "#!/bin/sh\ntr a-z A-Z\n", "topics": ["orders"], "output": [{"topic": "shouted"}]}
KEEP = {"name": "keep", "topics": ["shouted"], "output": ["kept"],
        "script": "#!/bin/sh\ncat \"$INPUT_FILE_PATH\" >\"$TMP_OUTPUT_DIR/$MILLRACE_RUN_ID\"\n"}
CLOUDEVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order", "data": {"n": 3}}


class TopicsCase(harness.TestCase):
    def start(self):
        return self.start_server()

    def contents(self, server, bucket):
        return sorted((server.bucket(bucket) / os.fsdecode(name)).read_bytes() for name in server.names(bucket))

    def rows(self, server, topic):
        return [row for row in server.ask("topics")["topics"] if row["name"] == topic]

    def publish(self, server, topic, body, headers=None, query=""):
        return server.request("POST", f"/api/v1/topics/{topic}/events{query}", body, headers)


class Topics(TopicsCase):
    def test_what_a_function_prints_starts_the_next_one(self):
        server = self.start()
        server.apply(SHOUT, KEEP)
        server.cli("publish", "orders", "three apples")
        server.cli("publish", "orders", "two pears")
        server.wait_idle()
        self.assertEqual(self.contents(server, "kept"), [b"THREE APPLES", b"TWO PEARS"])
        runs = server.runs()
        self.assertEqual(sorted((run["function"], run["outcome"]) for run in runs),
                         [("keep", "succeeded")] * 2 + [("shout", "succeeded")] * 2)
        chain = server.ask("why", next(run["run_id"] for run in runs if run["function"] == "keep"))["chain"]
        self.assertEqual(chain[0]["function"], "shout")
        self.assertEqual(chain[0]["outputs"], ["topic shouted"])
        self.assertEqual([child["function"] for child in chain[0]["children"]], ["keep"])

    def test_every_file_is_an_event_of_its_own_whatever_its_size(self):
        server = self.start()
        split = {"name": "split", "topics": ["orders"], "output": [{"topic": "shouted", "suffix": [".bin", ".json"]}],
                 "script": "#!/bin/sh\ncd \"$TMP_OUTPUT_DIR\"\nhead -c 2000000 /dev/zero >large.bin\n"
                           "echo '{}' >small.json\necho no >left.out\necho said\n"}
        tell = {"name": "tell", "topics": ["shouted"], "output": ["kept"],
                "script": "#!/bin/sh\nprintf '%s %s %s %s' \"$MILLRACE_EVENT_TYPE\" \"$MILLRACE_EVENT_SUBJECT\" "
                          "\"$MILLRACE_EVENT_CONTENT_TYPE\" $(wc -c <\"$INPUT_FILE_PATH\") "
                          ">\"$TMP_OUTPUT_DIR/$MILLRACE_EVENT_SUBJECT\"\n"}
        server.apply(split, tell)
        server.cli("publish", "orders", "go")
        server.wait_idle()
        self.assertEqual(self.contents(server, "kept"), [b"millrace.result large.bin application/octet-stream 2000000",
                                                         b"millrace.result small.json application/json 3"])

    def test_each_function_has_a_group_of_its_own_that_goes_with_it(self):
        server = self.start()
        server.cli("publish", "orders", "before")  # is kept for the first who comes
        other = KEEP | {"name": "other", "topics": ["orders"], "output": ["others"]}
        late = KEEP | {"name": "late", "topics": [{"name": "orders", "from": "new"}], "output": ["late"]}
        server.apply(other)
        server.wait_idle()
        server.apply(KEEP | {"topics": ["orders"]}, late)
        server.cli("publish", "orders", "after")
        server.wait_idle()
        self.assertEqual(self.contents(server, "others"), [b"after", b"before"])
        self.assertEqual(self.contents(server, "kept"), [b"after"])
        self.assertEqual(self.contents(server, "late"), [b"after"])
        self.assertEqual({row["function"] for row in self.rows(server, "orders")}, {"other", "keep", "late"})
        server.cli("rm", "other")
        server.apply(late | {"topics": ["elsewhere"]})
        self.assertEqual({row["function"] for row in self.rows(server, "orders")}, {"keep"})
        server.cli("publish", "orders", "more")
        server.wait_idle()
        server.restart()
        self.assertEqual({row["function"] for row in self.rows(server, "orders")}, {"keep"})
        self.assertEqual(self.contents(server, "kept"), [b"after", b"more"])
        self.assertEqual(self.contents(server, "others"), [b"after", b"before"])

    def test_failures_are_tried_again_and_redriven(self):
        server = self.start()
        fail = {"name": "fail", "topics": ["orders"], "retries": 1, "retry": {"base": "10ms"}, "output": ["kept"],
                "script": "#!/bin/sh\nexit 3\n"}
        server.apply(fail)
        server.cli("publish", "orders", "x")
        server.wait_idle()
        run, = server.runs("fail")
        self.assertEqual((run["outcome"], run["failures"]), ("dead_lettered", 2))
        row, = self.rows(server, "orders")
        self.assertEqual((row["dead"], row["function"]), (1, "fail"))
        letter, = server.ask("redrive", "fail", "--list")["dead_letters"]
        self.assertEqual((letter["topic"], letter["failures"], letter["losses"]), ("orders", 2, 0))
        self.assertIn(run["run_id"].encode(), server.cli("why", letter["event_id"]).stdout)
        self.assertIn(letter["event_id"].encode(), server.cli("redrive", "fail", "--list").stdout)
        server.apply(fail | {"script": harness.COPY})
        self.assertEqual(server.ask("redrive", "fail")["redriven"], 1)
        server.wait_idle()
        self.assertEqual(self.contents(server, "kept"), [b"x"])
        self.assertEqual(self.rows(server, "orders")[0]["dead"], 0)

    def test_publishing_over_http_in_every_mode(self):
        server = self.start()
        tell = {"name": "tell", "topics": ["orders"], "output": ["kept"],
                "script": "#!/bin/sh\nprintf '%s %s %s %s' \"$MILLRACE_EVENT_TYPE\" \"$MILLRACE_EVENT_SOURCE\" "
                          "\"$MILLRACE_EVENT_CONTENT_TYPE\" \"$(cat)\" >\"$TMP_OUTPUT_DIR/$MILLRACE_RUN_ID\"\n"}
        server.apply(tell)
        binary = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "order",
                  "Content-Type": "application/json"}
        structured = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
        batch = {"Content-Type": "application/cloudevents-batch+json"}
        first = self.publish(server, "orders", b'{"n":3}', binary)
        answer = first.json()
        event = answer.pop("event_id")
        self.assertEqual((first.status, answer), (202, {"topic": "orders", "id": "1", "duplicate": False}))
        again = self.publish(server, "orders", json.dumps(CLOUDEVENT).encode(), structured)
        self.assertTrue(again.json()["duplicate"], "the same event in another mode")
        events = [CLOUDEVENT, CLOUDEVENT | {"id": "2", "datacontenttype": "text/plain", "data": "two"}]
        both = self.publish(server, "orders", json.dumps(events).encode(), batch)
        self.assertEqual((both.status, both.json()), (202, {"topic": "orders", "accepted": 2, "duplicates": 1}))
        plain = self.publish(server, "orders", b"plain", {"Content-Type": "text/plain"})
        self.assertEqual(plain.status, 202)
        self.assertRegex(plain.json()["id"], "^[0-9A-Z]{26}$")
        server.wait_idle()
        self.assertEqual(self.contents(server, "kept"), [b"millrace.published /api/v1/topics/orders text/plain plain",
                                                         b'order /shop application/json {"n":3}',
                                                         b"order /shop text/plain two"])
        self.assertIn(b"tell succeeded", server.cli("why", event).stdout)
        for body, headers, status, message in (
                (b"x", binary | {"ce-specversion": "0.3"}, 400, "attribute 'specversion' must be 1.0"),
                (b"x", {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s"}, 400, "attribute 'type' is missing"),
                (b"x", {"ce-millraceorder": "me first"}, 400, "attribute 'millraceorder' is ours"),
                (b"x", {"ce-Not_A_Name": "1"}, 400, "attribute 'not_a_name' cannot be"),
                (b"{", structured, 400, "line 1"),
                (b"{}", structured, 400, "attribute 'specversion' is missing"),
                (json.dumps(CLOUDEVENT | {"time": "yesterday"}).encode(), structured, 400, "attribute 'time'"),
                (json.dumps([CLOUDEVENT, {}]).encode(), batch, 400, "event 2: attribute 'specversion'"),
                (json.dumps(CLOUDEVENT | {"data": "x" * (1 << 20)}).encode(), structured, 413, "1048576"),
                (b"<ce/>", {"Content-Type": "application/cloudevents+xml"}, 400, "is not understood")):
            answer = self.publish(server, "orders", body, headers)
            self.assertEqual(answer.status, status, answer.body)
            self.assertIn(message, answer.json()["error"]["message"])
        server.wait_idle()
        self.assertEqual(len(server.runs("tell")), 3)

    def test_a_file_of_lines(self):
        server = self.start()
        server.apply(KEEP | {"topics": ["orders"]})
        lines = self.folder / "lines.jsonl"
        lines.write_text("".join(f'{{"n":{number}}}\n' for number in range(250)) + "\n" + json.dumps(CLOUDEVENT) + "\n")
        done = server.cli("publish", "orders", "--lines", str(lines), "--id", "file")
        self.assertEqual(done.stdout, b"published: 251 events on orders\n")
        again = server.cli("publish", "orders", "--lines", "-", "--id", "file", stdin=lines.read_bytes())
        self.assertEqual(again.stdout, b"published: 251 events on orders, 251 of them published before\n")
        server.wait_idle()
        wanted = sorted([b'{"n":%d}' % number for number in range(250)] + [b'{"n":3}'])
        self.assertEqual(self.contents(server, "kept"), wanted)
        wrong = server.cli("publish", "orders", "--lines", "-", stdin=b'{"n":1000}\n\n{"n":\n{"n":1002}\n', status=2)
        self.assertIn(b"line 3", wrong.stderr)
        self.assertIn(b"published: 1 event ", wrong.stdout)

    def test_a_topic_that_is_full_says_at_which_line(self):
        server = self.start()
        server.cli("topics", "--create", "small", "--messages-max", "3")
        row, = self.rows(server, "small")
        self.assertEqual((row["messages_max"], row["group"], row["kind"]), (3, None, "user"))
        done = server.cli("publish", "small", "--lines", "-", stdin=b"1\n2\n3\n4\n5\n", status=1)
        self.assertIn(b"published: 3 events", done.stdout)
        self.assertIn(b"line 4: ", done.stderr)
        self.assertIn(b"2 lines not published", done.stderr)
        self.assertEqual(self.rows(server, "small")[0]["pending"], 3)
        server.cli("topics", "--create", "small", "--messages-max", "10")
        server.cli("publish", "small", "--lines", "-", stdin=b"4\n5\n")
        self.assertEqual(self.rows(server, "small")[0]["pending"], 5)

    def test_rates(self):
        server = self.start()
        server.apply(KEEP | {"topics": ["orders"]})
        server.ask("topics")

        def rates():
            server.cli("publish", "orders", "--text", "1")
            server.wait_idle()
            row, = self.rows(server, "orders")
            return row["published_per_s"] and row["consumed_per_s"]
        harness.until(rates, "rates are known")
        table = server.cli("topics").stdout.decode()
        self.assertRegex(table, r"orders +keep +0 +0 ")
        self.assertIn("PUBLISHED", table)

    def test_circles_through_topics_are_refused(self):
        server = self.start()
        back = {"name": "back", "script": "cat\n", "topics": ["shouted"], "output": [{"topic": "orders"}]}
        refused = server.apply(SHOUT, back, status=2)
        self.assertIn(b"topic shouted -> back -> topic orders -> shout", refused.stderr)
        server.apply(SHOUT, back | {"recursion": {"max_depth": 3}})
        server.cli("publish", "orders", "round and round")
        server.wait_idle()
        outcomes = [run["outcome"] for run in server.runs()]
        self.assertEqual(outcomes.count("dead_lettered"), 1)
        self.assertLessEqual(len(outcomes), 6)

    def test_a_deleted_topic_is_gone_and_the_next_of_its_name_begins_from_nothing(self):
        server = self.start()
        server.cli("topics", "--create", "orders", "--reader", "audit", "--messages-max", "3")
        for number in range(3):
            server.cli("publish", "orders", f"order {number}", "--id", str(number))
        asked = server.cli("topics", "--delete", "orders", status=2).stderr.decode()
        self.assertIn("with --yes it would be topic 'orders' with 3 events: 3 waiting (reader 'audit')", asked)
        self.assertEqual(self.rows(server, "orders")[0]["pending"], 3)
        deleted = server.cli("topics", "--delete", "orders", "--yes").stdout.decode()
        self.assertEqual(deleted, "deleted: orders, with 3 events: 3 waiting\n")
        self.assertEqual(self.rows(server, "orders"), [])
        server.restart()
        self.assertEqual(self.rows(server, "orders"), [])
        for arguments in (("--delete", "orders"), ("--delete", "orders", "--yes"), ("--delete", "No Name", "--yes")):
            server.cli("topics", *arguments, status=5)
        self.assertEqual(server.request("DELETE", "/api/v1/topics/orders").status, 404)
        server.cli("topics", "--create", "a", "--delete", "b", status=2)
        server.cli("topics", "--yes", status=2)

        self.assertEqual(server.cli("publish", "orders", "anew", "--id", "0").stdout, b"published: orders\n")
        row, = self.rows(server, "orders")
        self.assertEqual((row["group"], row["pending"], row["published"]), (None, 1, 1))
        self.assertGreater(row["messages_max"], 3)
        server.apply(KEEP | {"topics": ["orders"]})
        server.wait_idle()
        self.assertEqual(self.contents(server, "kept"), [b"anew"])

    def test_a_topic_that_functions_need_is_not_deleted(self):
        server = self.start()
        server.apply(SHOUT, KEEP | {"topics": ["orders", "shouted"]})
        for topic, named in (("orders", "'keep', 'shout'"), ("shouted", "'keep'"), ("fn.shout", "'shout'")):
            refused = server.request("DELETE", f"/api/v1/topics/{topic}")
            self.assertEqual((refused.status, refused.json()["error"]["code"]), (409, "failed_precondition"))
            self.assertIn(named, refused.json()["error"]["message"])
            self.assertIn(named.encode(), server.cli("topics", "--delete", topic, "--yes", status=1).stderr)
        server.cli("publish", "orders", "goes on")
        server.wait_idle()
        self.assertEqual(self.contents(server, "kept"), [b"GOES ON", b"goes on"])
        # Its own queue can go when the function has, with what is shown to wait there.
        server.apply({"name": "slow", "script": "#!/bin/sh\nsleep 600\n", "concurrency": 1})
        for _ in range(3):
            server.cli("run", "slow", "--async")
        server.cli("rm", "slow", "keep", "shout")
        deleted = server.ask("topics", "--delete", "fn.slow", "--yes")
        self.assertEqual((deleted["topic"], deleted["removed"]), ("fn.slow", True))
        self.assertEqual(deleted["waiting"] + deleted["in_flight"], 3)
        harness.until(lambda: [run for run in server.ask("runs")["runs"] if run["state"] != "done"] == [],
                      "nothing waits any more")
        server.cli("topics", "--delete", "orders", "--yes")
        self.assertEqual(self.rows(server, "orders"), [])

    def tail(self, server, *arguments):
        environment = os.environ | {"MILLRACE_DATA": str(server.data)}
        path = self.folder / "-".join(("tail", *arguments))
        with open(path, "wb") as out:
            process = subprocess.Popen([harness.BIN, "topics", "--tail", *arguments], stdout=out, stderr=out,
                                       env=environment, preexec_fn=harness.die_with_parent)
        self.addCleanup(lambda: (process.kill(), process.wait()))
        return process, path.read_bytes

    def test_a_tail_shows_events_as_they_come_and_takes_nothing(self):
        server = self.start()
        server.cli("publish", "orders", "before")
        lines, shown = self.tail(server, "orders")
        documents, told = self.tail(server, "orders", "-o", "json")
        watchers = lambda count: b"millrace_topic_feed_readers %d" % count in server.request("GET", "/metrics").body
        harness.until(lambda: watchers(2), "both watch")
        server.cli("publish", "orders", "--id", "17", "--type", "shop.order", "--source", "/shop", "three\napples")
        server.cli("publish", "orders", "--id", "18", "x" * 5000)
        harness.until(lambda: shown().count(b"\n") == 2 and told().count(b"\n") == 2, "both events are shown")
        first, second = shown().decode().splitlines()
        self.assertRegex(first, r"^\d\d:\d\d:\d\d  17  shop\.order  /shop  -  12 B  three\?apples$")
        self.assertRegex(second, r"  18  .*  x+\.\.\.$")
        event, cut = map(json.loads, told().splitlines())
        self.assertEqual((event["id"], event["source"], event["type"], event["data"], event["bytes"]),
                         ("17", "/shop", "shop.order", "three\napples", 12))
        self.assertEqual((cut["data"], cut["bytes"], cut["cut"]), ("x" * 1024, 5000, True))
        # Whoever comes first finds everything, and no reader was left behind by one that died.
        documents.kill()
        documents.wait()
        row, = self.rows(server, "orders")
        self.assertEqual((row["group"], row["pending"]), (None, 3))
        server.cli("topics", "--delete", "orders", "--yes")
        self.assertEqual(lines.wait(60), 5)
        self.assertIn(b"topic 'orders' was removed", shown())
        self.assertIn(b"orders", server.cli("topics", "--tail", "orders", status=5).stderr)

    def test_a_daemon_that_dies_publishes_results_once(self):
        server = self.start()
        server.apply(SHOUT, KEEP)
        for number in range(20):
            server.cli("publish", "orders", f"order {number}", "--id", str(number))
        harness.until(lambda: server.runs("shout"), "some are done")
        server.kill()
        server.start()
        server.wait_idle()
        self.assertEqual(self.contents(server, "kept"), sorted(b"ORDER %d" % number for number in range(20)))
        self.assertEqual(len(server.runs("keep")), 20)


class TopicsOnNats(OnNats, Topics):
    pass


class Strangers(OnNats, TopicsCase):
    """Another program, which knows nothing of us, on the same NATS server."""

    def talk(self, conversation):
        sys.path.insert(0, os.environ["MILLRACE_NATS_CLIENT"])
        import nats  # pylint: disable=import-outside-toplevel,import-error

        async def connected():
            client = await nats.connect(self.nats.url)
            try:
                return await asyncio.wait_for(conversation(client), 60)
            finally:
                await client.close()
        return asyncio.run(connected())

    def test_strangers_start_functions_and_read_what_they_published(self):
        server = self.start()
        server.apply(SHOUT)
        server.cli("topics", "--create", "shouted", "--reader", "mine")

        async def conversation(client):
            stream = client.jetstream()
            results = await stream.pull_subscribe_bind("mine", "millrace-t-shouted")
            await stream.publish("millrace.t.orders", b"plain words")
            await stream.publish("millrace.t.orders", b"binary", headers={
                "ce-specversion": "1.0", "ce-id": "7", "ce-source": "/stranger", "ce-type": "order",
                "content-type": "text/plain"})
            await stream.publish("millrace.t.orders", json.dumps(
                {"specversion": "1.0", "id": "8", "source": "/stranger", "type": "order",
                 "datacontenttype": "text/plain", "data": "structured"}).encode(),
                headers={"content-type": "application/cloudevents+json"})
            # The same event once more is the same run.
            await stream.publish("millrace.t.orders", b"binary", headers={
                "ce-specversion": "1.0", "ce-id": "7", "ce-source": "/stranger", "ce-type": "order",
                "content-type": "text/plain"})
            received = []
            while len(received) < 3:
                for message in await results.fetch(1, timeout=30):
                    received.append((message.data, message.headers))
                    await message.ack()
            return received

        received = self.talk(conversation)
        self.assertEqual(sorted(data for data, _ in received), [b"BINARY", b"PLAIN WORDS", b"STRUCTURED"])
        for _, headers in received:
            self.assertEqual(headers["ce-specversion"], "1.0")
            self.assertEqual(headers["ce-type"], "millrace.result")
            self.assertEqual(headers["ce-source"], "/run/shout")
            self.assertEqual(urllib.parse.unquote(headers["content-type"]), "text/plain; charset=utf-8")
            self.assertIn("ce-id", headers)
            self.assertIn("ce-time", headers)
        server.wait_idle()
        self.assertEqual(len(server.runs("shout")), 3)
        row, = self.rows(server, "shouted")
        self.assertEqual((row["group"], row["function"], row["pending"]), ("mine", None, 0))

    def test_strangers_read_one_json_document_where_it_is_asked_for(self):
        server = self.start()
        split = {"name": "split", "topics": ["orders"], "output": [{"topic": "told", "mode": "structured"}],
                 "script": "#!/bin/sh\ncd \"$TMP_OUTPUT_DIR\"\ncat >said.txt\necho '{\"price\": 1.50}' >price.json\n"
                           "printf '\\377\\000' >raw.bin\nhead -c 2000000 /dev/zero >large.bin\n"}
        tell = {"name": "tell", "topics": ["told"], "output": ["kept"],
                "script": "#!/bin/sh\nprintf '%s %s %s %s' \"$MILLRACE_EVENT_SUBJECT\" \"$MILLRACE_EVENT_TYPE\" "
                          "\"$MILLRACE_EVENT_CONTENT_TYPE\" $(sha256sum <\"$INPUT_FILE_PATH\" | cut -c1-64) "
                          ">\"$TMP_OUTPUT_DIR/$MILLRACE_EVENT_SUBJECT\"\n"}
        server.cli("topics", "--create", "told", "--reader", "mine")
        server.apply(split, tell)
        self.assertEqual(server.request("GET", "/api/v1/functions/split").json()["output"], split["output"])
        server.cli("publish", "orders", "three \u00e4pples")

        async def read(client, wanted):
            results = await client.jetstream().pull_subscribe_bind("mine", "millrace-t-told")
            received = []
            while len(received) < wanted:
                for message in await results.fetch(1, timeout=30):
                    received.append((message.headers, json.loads(message.data)))
                    await message.ack()
            return received

        received = self.talk(lambda client: read(client, 4))
        for headers, event in received:
            self.assertEqual(urllib.parse.unquote(headers["content-type"]), "application/cloudevents+json")
            self.assertEqual([name for name in headers if name.startswith("ce-")], [])
            self.assertEqual((event["specversion"], event["type"], event["source"]),
                             ("1.0", "millrace.result", "/run/split"))
        events = {event["subject"]: event for _, event in received}
        self.assertEqual(events["said.txt"]["data"], "three \u00e4pples")
        self.assertEqual((events["price.json"]["datacontenttype"], events["price.json"]["data"]),
                         ("application/json", {"price": 1.5}))
        self.assertEqual(events["raw.bin"]["data_base64"], "/wA=")
        self.assertTrue(events["large.bin"]["dataref"].endswith("/large.bin"))
        self.assertNotIn("data", events["large.bin"])
        server.wait_idle()
        # JSON comes to our own functions without its blanks, all else byte by byte.
        contents = {"said.txt": ("text/plain", "three \u00e4pples".encode()), "raw.bin": (
            "application/octet-stream", b"\xff\0"), "price.json": ("application/json", b'{"price":1.50}'), "large.bin": (
                "application/octet-stream", bytes(2_000_000))}
        self.assertEqual(self.contents(server, "kept"), sorted(
            f"{name} millrace.result {kind} {hashlib.sha256(data).hexdigest()}".encode()
            for name, (kind, data) in contents.items()))

        server.cli("publish", "told", "--mode", "structured", "--id", "9", "by command")
        answer = self.publish(server, "told", b"by request", {"ce-id": "10", "Content-Type": "text/plain"},
                              "?mode=structured")
        self.assertEqual(answer.status, 202)
        received = self.talk(lambda client: read(client, 2))
        self.assertEqual([(event["id"], event["data"]) for _, event in received],
                         [("9", "by command"), ("10", "by request")])
        self.assertEqual(self.publish(server, "told", b"x", query="?mode=xml").status, 400)
        server.cli("publish", "told", "--mode", "xml", "x", status=2)

    def test_a_document_of_a_stranger_needs_no_headers(self):
        server = self.start()
        server.apply(KEEP | {"topics": ["orders"]})
        document = {"specversion": "1.0", "id": "8", "source": "/stranger", "type": "order", "data": {"n": 1}}

        async def conversation(client):
            await client.jetstream().publish("millrace.t.orders", json.dumps(document).encode())
        self.talk(conversation)
        server.wait_idle()
        self.assertEqual(self.contents(server, "kept"), [b'{"n":1}'])


if __name__ == "__main__":
    harness.main()
