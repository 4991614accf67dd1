"""A blind user study: its key, its participants' answers, and the order in which each of them sees the videos.

Vocabulary
----------
- A *clip* is one method's video of a scene; the *source* is the scene's input video, shown beside all of its clips.
- *Ids* stand for scenes and clips in the page, its files and the answers; they are digests and say nothing of methods.
- The *key* says which id is which. Only the aggregation reads it; it never lies in the folder that is handed out.
- A *participant* answers every question of every scene by choosing one clip, so that shares sum to one as in 4DSTR's
  Table 6. The *place* of a clip is its column in the page, from 0, drawn anew for every participant and scene.
- The *seed* of a participant, 1 to 2**32 - 1, is drawn by the page and stored in the answers; `orders` gives what
  `orders` in workflow/study/study.js gives, so that a file whose order is not its seed's is noticed (a test in a
  browser holds the two together).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from stages.cli import StageError
from stages.settings import Section

# What 4DSTR's raters judged; its Table 6 prints Vis., Cons. and Align., its text names them and no wording.
QUESTIONS = {
    "quality": "Which one looks best?",
    "consistency": "Which one is most consistent: no flicker, jumps or tearing, over time and from all sides?",
    "alignment": "Which one matches the input best, in looks and in motion?",
}
FORMAT = 1
# Sixteen hexadecimal digits, 64 bits: ids do not collide, names stay short.
ID_LENGTH = 16
ID = rf"^[0-9a-f]{{{ID_LENGTH}}}$"
LARGEST_SEED = 2**32 - 1
# Draws thrown away first: xorshift's first outputs resemble a small seed.
WARM_UP = 8

Checked = TypeVar("Checked", bound=Section)


class KeyClip(Section):
    """One clip of a scene."""

    id: str = Field(pattern=ID)
    variant: str
    title: str


class KeyScene(Section):
    """One scene and its clips."""

    id: str = Field(pattern=ID)
    scene: str
    clips: list[KeyClip] = Field(min_length=2)


class Key(Section):
    """Which id is which."""

    kind: Literal["study key"] = "study key"
    format: Literal[1] = FORMAT
    study: str = Field(pattern=ID)
    suite: str
    questions: dict[Literal["quality", "consistency", "alignment"], str]
    scenes: list[KeyScene] = Field(min_length=1)
    record: dict

    @model_validator(mode="after")
    def _consistent(self) -> Key:
        methods = {tuple(sorted(clip.variant for clip in scene.clips)) for scene in self.scenes}
        if len(methods) > 1:
            raise ValueError("every scene compares the same methods, each once")
        if study_id(self.shown(), self.questions) != self.study:
            raise ValueError("scenes, clips or questions are not those of the study; was it edited?")
        return self

    def shown(self) -> dict[str, list[str]]:
        """The ids of each scene's clips by the scene's id."""
        return {scene.id: [clip.id for clip in scene.clips] for scene in self.scenes}

    def variants(self) -> dict[str, str]:
        """The variant of each clip by its id."""
        return {clip.id: clip.variant for scene in self.scenes for clip in scene.clips}

    def titles(self) -> dict[str, str]:
        """The title of each variant, sorted by variant."""
        return dict(sorted((clip.variant, clip.title) for clip in self.scenes[0].clips))


class Answer(Section):
    """What one participant chose in one scene: ids of clips."""

    scene: str
    order: list[str] = Field(description="ids of the clips by place")
    quality: str
    consistency: str
    alignment: str
    seconds: float = Field(ge=0, description="for which the scene was in view")


class Answers(Section):
    """One participant's file."""

    kind: Literal["study answers"]
    format: Literal[1]
    study: str
    participant: str = Field(pattern=ID)
    seed: int = Field(ge=1, le=LARGEST_SEED, strict=True)
    saved: str = Field(description="ISO 8601, UTC")
    answers: list[Answer] = Field(description="in the order in which the scenes were shown")


# ------------------------------------------------------------------ ids and order


def digest(*parts: str | bytes) -> str:
    """ID_LENGTH hexadecimal digits that stand for the parts and for their borders."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8") if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()[:ID_LENGTH]


def study_id(shown: Mapping[str, Iterable[str]], questions: Mapping[str, str] = QUESTIONS) -> str:
    """The study's identity: its scenes, clips and questions, and not how the page looks.

    shown: ids of each scene's clips by the scene's id, in any order.
    """
    lines = [f"{scene} {' '.join(sorted(clips))}" for scene, clips in sorted(shown.items())]
    return digest(*lines, json.dumps(questions, sort_keys=True))


class Draws:
    """Marsaglia's xorshift32 (Journal of Statistical Software 8(14), 2003): the same numbers in any language."""

    def __init__(self, seed: int) -> None:
        self._state = seed
        for _ in range(WARM_UP):
            self.below(1)

    def below(self, count: int) -> int:
        """An integer from 0 to count - 1; the bias is below count / 2**32."""
        state = self._state
        state ^= (state << 13) & LARGEST_SEED
        state ^= state >> 17
        state ^= (state << 5) & LARGEST_SEED
        self._state = state
        return state * count >> 32

    def shuffled(self, items: Iterable[str]) -> list[str]:
        """The items in an order drawn by Fisher and Yates' method; equal items in any order give the same."""
        drawn = sorted(items)
        for last in range(len(drawn) - 1, 0, -1):
            other = self.below(last + 1)
            drawn[last], drawn[other] = drawn[other], drawn[last]
        return drawn


def orders(seed: int, shown: Mapping[str, Iterable[str]]) -> list[tuple[str, list[str]]]:
    """Scenes in the order of a participant with this seed, each with its clips by place."""
    draws = Draws(seed)
    return [(scene, draws.shuffled(shown[scene])) for scene in draws.shuffled(shown)]


# ------------------------------------------------------------------ reading


def _parsed(model: type[Checked], path: Path, what: str, remedy: str) -> Checked:
    """A JSON file as `model`; raises StageError naming the file and the first thing that is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
        return model.model_validate(json.loads(text))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise StageError(f"{path} cannot be read as {what} ({error}). {remedy}") from None
    except ValidationError as error:
        first, *others = error.errors()
        where = ".".join(map(str, first["loc"])) or "the whole file"
        more = f", and {len(others)} more" if others else ""
        raise StageError(f"{path} is not {what}: {where}: {first['msg']}{more}. {remedy}") from None


def read_key(path: Path) -> Key:
    """The key of a study; raises StageError on another file."""
    return _parsed(
        Key, path, "the key of a study", "Expected study_key.json as the study stage wrote it; set `study: {key: ...}`."
    )


def read_answers(path: Path, key: Key) -> Answers:
    """One participant's answers, complete and of this study; raises StageError naming the file otherwise."""
    remedy = "Ask for the file again, or move it out of the folder."
    answers = _parsed(Answers, path, "answers to a study", remedy)
    if answers.study != key.study:
        raise StageError(
            f"{path} answers study {answers.study}; expected {key.study}, the key's. Other videos or questions make "
            "another study: move the file to that study's folder, or set `study: {key: ...}` to its key."
        )
    expected = orders(answers.seed, key.shown())
    given = [(answer.scene, answer.order) for answer in answers.answers]
    if given != expected:
        raise StageError(
            f"{path} holds {len(given)} scenes in an order that is not its seed's; expected the {len(expected)} of the "
            f"study, each once, as the page with seed {answers.seed} shows them. {remedy}"
        )
    for answer in answers.answers:
        for question in QUESTIONS:
            chosen = getattr(answer, question)
            if chosen not in answer.order:
                raise StageError(
                    f"{path} answers {question} in scene {answer.scene} with {chosen!r}; expected one of "
                    f"{', '.join(answer.order)}. {remedy}"
                )
    return answers


def read_all(paths: Iterable[Path], key: Key) -> list[Answers]:
    """Every participant's answers, sorted by participant; raises StageError on none and on two files of one."""
    seen: dict[str, Path] = {}
    found = []
    for path in sorted(paths):
        answers = read_answers(path, key)
        if answers.participant in seen:
            raise StageError(
                f"{path} and {seen[answers.participant]} are of the same participant; expected one file of each. "
                "Keep the later one."
            )
        seen[answers.participant] = path
        found.append(answers)
    if not found:
        raise StageError("no answers were given; expected at least one file after --answers.")
    return sorted(found, key=lambda one: one.participant)
