"""Rewards of servers, on this machine: what is sent, what is read, and every way in which a server fails."""

import base64
import io
import os
import signal
import threading
import time
import wave

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from aa_lightning.assembly.rewards import build_rewards
from aa_lightning.configuration.folders import conf_dir
from aa_lightning.configuration.rewards import SETTINGS
from aa_lightning.media.audio import Sound
from aa_lightning.rewards import http
from aa_lightning.rewards.reward import RewardFault
from aa_lightning.system.signals import Stopped
from aa_lightning.types import Prompt, text
from tests.rewards import servers
from tests.rewards.servers import serving


@pytest.fixture(autouse=True)
def hurried(monkeypatch, tmp_path):
    monkeypatch.setattr(http, "_PAUSE", 0.01)
    monkeypatch.setenv("AA_LIGHTNING_CACHE", str(tmp_path))


def built(name, **keys):
    files = [
        *(conf_dir() / f"reward/options/{common}.yaml" for common in ("common", "served")),
        conf_dir() / f"reward/{name}.yaml",
    ]
    common, more, file = map(OmegaConf.load, files)
    return build_rewards(OmegaConf.create({"reward": {name: OmegaConf.merge(common, more, file[name], keys)}}))


def prompts(count, *media, answer="red"):
    return [
        Prompt(
            id=f"row-{n}",
            messages=[{"role": "user", "content": [*media, text(f"What is {n}?")]}],
            answer=answer,
        )
        for n in range(count)
    ]


def said(*groups):
    return [[[text(one)] for one in group] for group in groups]


TWO = said(["a", "abc"], ["abcde", "abcdefg"])


# ---------------------------------------------------------------- reward servers


def test_a_server_is_sent_texts_and_gives_numbers():
    """The protocol of align-anything, with ids and right answers beside it."""
    with serving(servers.lengths) as server:
        found = built("server", url=f"{server.url}/get_reward?kind=a", batch_size=3)(prompts(2), TWO)["server"]
    assert np.allclose(found, [[0.1, 0.3], [0.5, 0.7]])
    paths, _, bodies = zip(*sorted(server.asked, key=lambda one: -len(one[2]["ids"])), strict=True)
    assert set(paths) == {"/get_reward?kind=a"}
    assert bodies[0] == {
        "ids": ["row-0", "row-0", "row-1"],
        "prompts": ["What is 0?", "What is 0?", "What is 1?"],
        "responses": ["a", "abc", "abcde"],
        "golden_responses": ["red"] * 3,
    }
    assert bodies[1]["responses"] == ["abcdefg"]


def test_parts_come_with_their_media_as_files():
    picture = {"type": "image", "image": Image.new("RGB", (3, 2), "red")}
    sound = {"type": "audio", "audio": Sound(np.array([0, 0.5, -1], np.float32), 8000)}
    with serving(servers.lengths) as server:
        built("server", url=server.url, send="parts")(prompts(1, picture), [[[text("a"), sound]]])
    body = server.asked[0][2]
    kinds = [[part["type"] for part in body[key][0]] for key in ("prompt_parts", "response_parts")]
    assert kinds == [["image", "text"], ["text", "audio"]]
    start, _, data = body["prompt_parts"][0][0]["image"].partition(",")
    assert start == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).getpixel((0, 0)) == (255, 0, 0)
    heard = base64.b64decode(body["response_parts"][0][1]["audio"].partition(",")[2])
    with wave.open(io.BytesIO(heard)) as file:
        assert np.frombuffer(file.readframes(3), "<i2").tolist() == [0, 16384, -32767]


def test_equal_responses_to_a_prompt_are_asked_about_once():
    with serving(servers.lengths) as server:
        found = built("server", url=server.url)(prompts(1), said(["abc", "abc", "a", "abc"]))["server"]
    assert np.allclose(found, [[0.3, 0.3, 0.1, 0.3]])
    assert server.asked[0][2]["responses"] == ["abc", "a"]


def test_what_was_kept_is_not_asked_for_again():
    with serving(servers.lengths) as server:
        for _ in range(2):
            found = built("server", url=server.url, keep=True)(prompts(2), TWO)["server"]
            assert np.allclose(found, [[0.1, 0.3], [0.5, 0.7]])
        built("server", url=server.url, keep=True)(prompts(2), said(["a", "new"], ["abcde", "abcdefg"]))
        assert [one[2]["responses"] for one in server.asked] == [["a", "abc", "abcde", "abcdefg"], ["new"]]
        built("server", url=server.url)(prompts(2), TWO)
        assert len(server.asked) == 3


@pytest.mark.parametrize("way", ["status 500", "busy", "dies", "closes"])
def test_what_fails_for_a_while_is_asked_again(way):
    with serving(servers.after(2, servers.FAULTS[way], servers.lengths)) as server:
        found = built("server", url=server.url)(prompts(2), TWO)["server"]
    assert np.allclose(found, [[0.1, 0.3], [0.5, 0.7]])
    assert len(server.asked) == 3


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks():
    def busy(handler, body):
        handler.answer(b"", 429, Retry_After=1)

    start = time.monotonic()
    with serving(servers.after(1, busy, servers.lengths)) as server:
        built("server", url=server.url)(prompts(1), TWO[:1])
    assert 1 <= time.monotonic() - start < 3


@pytest.mark.parametrize("on_fault", ["error", "skip"])
@pytest.mark.parametrize("way", servers.FAULTS)
def test_each_fault_of_a_server_has_the_name_of_its_reward_and_prompt(way, on_fault):
    start = time.monotonic()
    with serving(servers.FAULTS[way]) as server:
        rewards = built("server", url=server.url, timeout=0.2, tries=2, on_fault=on_fault)
        if on_fault == "error":
            with pytest.raises(
                RewardFault, match=r"^reward.server gives no reward for prompt row-0, and 1 more"
            ) as told:
                rewards(prompts(2), TWO)
            assert "\x1b" not in str(told.value)
        else:
            assert rewards(prompts(2), TWO)["server"].isnan().all()
            assert rewards.skipped == {"server": 2}
    assert time.monotonic() - start < 3
    assert len(server.asked) <= 2


def test_a_server_that_dies_in_the_middle_costs_only_what_it_did_not_answer():
    def behave(handler, body):
        (servers.die if body["ids"] == ["row-1"] else servers.lengths)(handler, body)

    with serving(behave) as server:
        rewards = built("server", url=server.url, batch_size=1, parallel=1, on_fault="skip", tries=1)
        found = rewards(prompts(3), said(["a", "ab"], ["c", "cd"], ["e", "ef"]))["server"]
    assert np.allclose(found[0], [0.1, 0.2])
    assert found[1:].isnan().all()  # after the first refusal nothing more is asked
    assert rewards.skipped == {"server": 2}
    assert len(server.asked) == 3


def test_nobody_listens():
    with serving(servers.lengths) as server:
        url = server.url
    with pytest.raises(RewardFault, match=r"row-0.*broke off \(ConnectionRefusedError"):
        built("server", url=url)(prompts(2), TWO)


def test_one_slow_answer_does_not_end_the_others():
    def behave(handler, body):
        time.sleep(1.0 if body["responses"] == ["abc"] else 0.0)
        servers.lengths(handler, body)

    with serving(behave) as server:
        rewards = built("server", url=server.url, timeout=0.2, tries=1, batch_size=1, parallel=1, on_fault="skip")
        found = rewards(prompts(2), TWO)["server"]
    assert found[0].isnan().all()
    assert np.allclose(found[1], [0.5, 0.7])


def test_nothing_goes_to_proxies_or_where_a_server_sends_on(monkeypatch):
    with serving(servers.lengths) as other, serving(servers.lengths) as server:
        monkeypatch.setenv("http_proxy", other.url)
        monkeypatch.setenv("HTTP_PROXY", other.url)
        built("server", url=server.url)(prompts(1), TWO[:1])
        assert (len(server.asked), len(other.asked)) == (1, 0)
    with serving(servers.lengths) as other:
        with (
            serving(lambda handler, body: handler.answer(b"", 307, Location=other.url)) as server,
            pytest.raises(RewardFault, match=f"sends on to {other.url}, which was not named"),
        ):
            built("server", url=server.url)(prompts(1), TWO[:1])
        assert other.asked == []


def test_a_key_comes_from_the_environment_and_is_never_said(monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret-123")
    with serving(servers.FAULTS["status 400"]) as server:
        rewards = built("server", url=server.url, key_env="MY_KEY")
        with pytest.raises(RewardFault) as told:
            rewards(prompts(1), TWO[:1])
    assert server.asked[0][1]["Authorization"] == "Bearer secret-123"
    assert "secret" not in str(told.value)
    assert "secret" not in repr(rewards) + repr(http.address("http://a", 1, 1, 1, "MY_KEY"))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"url": "127.0.0.1:6000"}, "is no address of a server: type http://<host>:<port>/<path>"),
        ({"url": "file:///etc/passwd"}, "is no address of a server"),
        ({"url": "http://me:secret@host"}, "url holds a password"),
        (
            {"url": "http://host", "key_env": "NOT_SET_AT_ALL"},
            "NOT_SET_AT_ALL names an environment variable that is not set",
        ),
    ],
)
def test_what_is_no_address_is_refused_before_anything_is_drawn(keys, says):
    with pytest.raises(ValueError, match=r"^reward.server cannot be made: ") as refused:
        built("server", **keys)
    assert says in str(refused.value)


# ---------------------------------------------------------------- judges


def grades(body):
    """A grade for each length of the response that stands in the question."""
    asked = body["messages"][0]["content"]
    asked = asked if isinstance(asked, str) else asked[0]["text"]
    response = asked.partition("<<<response\n")[2].partition("\nresponse>>>")[0]
    return f"I would say [[3]] at first, but it is {len(response)} long: [[{len(response)}]]"


def judge(server, **keys):
    return built("judge", url=f"{server.url}/v1", model="some-model", **keys)


def test_a_judge_grades_in_words():
    """Grades 1, 3, 5, 7 of 1 to 10 are 0, 2/9, 4/9, 6/9."""
    with serving(servers.says(grades)) as server:
        found = judge(server)(prompts(2), TWO)["judge"]
    assert np.allclose(found, [[0, 2 / 9], [4 / 9, 6 / 9]])
    path, _, body = server.asked[0]
    assert path == "/v1/chat/completions"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("some-model", 0.0, 512)
    assert len(body["messages"]) == 1


def test_a_template_has_the_rows_own_words_and_not_those_that_stand_in_them():
    with serving(servers.says(lambda body: "Score: 7")) as server:
        found = judge(server, template="{prompt}|{response}|{answer}|{other}", score=r"Score: (\d+)", range=[0, 10])(
            prompts(1), said(["say {answer}"])
        )
    assert np.allclose(found["judge"], 0.7)
    assert server.asked[0][2]["messages"][0]["content"] == "What is 0?|say {answer}|red|{other}"


def test_it_is_shown_pictures_and_played_sounds():
    picture = {"type": "image", "image": Image.new("RGB", (3, 2), "red")}
    sound = {"type": "audio", "audio": Sound(np.zeros(8, np.float32), 8000)}
    with serving(servers.says(grades)) as server:
        judge(server)(prompts(1, picture), [[[text("abc"), sound]]])
    kinds = [part["type"] for part in server.asked[0][2]["messages"][0]["content"]]
    assert kinds == ["text", "image_url", "input_audio"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (lambda body: "I cannot say.", "some-model gave no grade, but said I cannot say"),
        (lambda body: "[[11]]", "gave the grade 11, and grades are from 1 to 10"),
        (lambda body: None, "in which there is no choices"),
        (lambda body: "\x1b[2J[[x]]", "gave no grade, but said \\x1b[2J[[x]]"),
    ],
)
def test_what_is_no_grade_is_a_fault_of_its_prompt_alone(words, says):
    def some(body):
        return words(body) if "What is 1?" in body["messages"][0]["content"] else "[[10]]"

    with serving(servers.says(some)) as server:
        with pytest.raises(RewardFault, match=r"^reward.judge gives no reward for prompt row-1: ") as told:
            judge(server)(prompts(2), TWO)
        assert says in str(told.value)
        found = judge(server, on_fault="skip")(prompts(2), TWO)["judge"]
    assert found[0].tolist() == [1, 1]
    assert found[1].isnan().all()


def test_grades_are_kept():
    with serving(servers.says(grades)) as server:
        first = judge(server)(prompts(2), TWO)["judge"]
        again = judge(server)(prompts(2), TWO)["judge"]
        assert len(server.asked) == 4
        assert first.tolist() == again.tolist()
        judge(server, temperature=1.0)(prompts(1), TWO[:1])
        assert len(server.asked) == 6


def test_many_are_asked_at_a_time():
    at_once, most, lock = [0], [0], threading.Lock()

    def slow(body):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        time.sleep(0.1)
        with lock:
            at_once[0] -= 1
        return "[[5]]"

    with serving(servers.says(slow)) as server:
        judge(server, parallel=4)(prompts(1), said([str(n) for n in range(12)]))
    assert len(server.asked) == 12
    assert 2 <= most[0] <= 4


@pytest.mark.parametrize(
    ("keys", "says"),
    [({"score": "("}, "it is no regular expression"), ({"score": "a"}, "0 groups"), ({"range": [3, 1]}, "worst")],
)
def test_what_cannot_be_read_is_refused(keys, says):
    with pytest.raises(ValueError, match=says):
        built("judge", url="http://127.0.0.1:9/v1", model="some", **keys)


# ---------------------------------------------------------------- several at once


def several(**named):
    """Rewards of servers, by the server of each, or of functions of one's own."""
    common = OmegaConf.merge(
        *(OmegaConf.load(conf_dir() / f"reward/options/{one}.yaml") for one in ("common", "served"))
    )
    file = OmegaConf.load(conf_dir() / "reward/server.yaml").server
    sections = {
        name: OmegaConf.merge(common, file, {"url": f"{one.url}/score"})
        if not isinstance(one, dict)
        else {**{key: common[key] for key in SETTINGS}, **one}
        for name, one in named.items()
    }
    return build_rewards(OmegaConf.create({"reward": sections}))


def slowly(handler, body):
    time.sleep(0.6)
    servers.lengths(handler, body)


def test_servers_are_waited_for_at_the_same_time_and_their_numbers_stand_in_their_order():
    """Two servers that take 0.6 s, and a function that takes 0.08 s here."""
    with serving(slowly) as one, serving(slowly) as two:
        rewards = several(one=one, here={"_target_": "tests.rewards.own.slow"}, two=two)
        start = time.monotonic()
        found = rewards(prompts(2), TWO)
        assert time.monotonic() - start < 1.1
    assert list(found) == ["one", "here", "two"]
    assert found["one"].tolist() == found["two"].tolist() == [pytest.approx([0.1, 0.3]), pytest.approx([0.5, 0.7])]
    assert found["here"].tolist() == [[1, 1], [1, 1]]


def test_of_several_faults_that_of_the_first_reward_is_told():
    """The function fails at once, the server later; it stands first."""
    broken = lambda handler, body: (time.sleep(0.2), handler.answer(b"{"))  # noqa: E731
    with serving(broken) as server:
        with pytest.raises(RewardFault, match="^reward.first gives no reward for prompt row-0.*is no JSON"):
            several(first=server, then={"_target_": "tests.rewards.own.broken"})(prompts(1), TWO[:1])
        with pytest.raises(RewardFault, match="^reward.first gives no reward for prompt row-0.*broken here"):
            several(first={"_target_": "tests.rewards.own.broken"}, then=server)(prompts(1), TWO[:1])


def test_a_signal_ends_the_wait_for_servers():
    with serving(servers.drip) as one, serving(servers.drip) as two:
        rewards = several(one=one, two=two)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        start = time.monotonic()
        with pytest.raises((KeyboardInterrupt, Stopped)):  # as this process answers a Ctrl-C
            rewards(prompts(1), TWO[:1])
        assert time.monotonic() - start < 2


def test_a_reward_apart_keeps_its_process_beside_others():
    rewards = several(
        here={"_target_": "tests.rewards.own.pid"}, there={"_target_": "tests.rewards.own.pid", "apart": True}
    )
    found = [rewards(prompts(1), TWO[:1]) for _ in range(2)]
    assert found[0]["there"].tolist() == found[1]["there"].tolist()
    assert found[0]["there"][0, 0] != found[0]["here"][0, 0]
