"""Write the samples of data sets that the package brings: invented text, in each data set's published form.

    python examples/make_dataset_samples.py mbc_cli/corpus/datasets/samples/

Names and facts are invented, so no LLM can know them; the same seed writes the same files. The text is CC0.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

SEED = 20
DOCUMENTS = 60

STARTS = [
    "Ba",
    "Be",
    "Bo",
    "Da",
    "De",
    "Do",
    "Fe",
    "Ga",
    "Ha",
    "He",
    "Ka",
    "Ke",
    "Ko",
    "La",
    "Le",
    "Lo",
    "Ma",
    "Me",
    "Mi",
    "Na",
    "Ne",
    "No",
    "Pa",
    "Pe",
    "Ra",
    "Re",
    "Ro",
    "Sa",
    "Se",
    "So",
    "Ta",
    "Te",
    "To",
    "Va",
    "Ve",
    "Vi",
    "Wa",
    "We",
    "Za",
]
MIDDLES = [
    "ra",
    "ri",
    "ro",
    "la",
    "li",
    "lo",
    "na",
    "ni",
    "no",
    "sta",
    "ste",
    "va",
    "vi",
    "ma",
    "mi",
    "da",
    "di",
]
ENDS = ["n", "nd", "ck", "l", "lm", "r", "s", "st", "th", "x"]
TRADES = [
    "baker",
    "surveyor",
    "violinist",
    "engineer",
    "botanist",
    "teacher",
    "printer",
    "judge",
    "nurse",
    "weaver",
    "pilot",
    "historian",
]
MATERIALS = ["slate", "oak", "granite", "copper", "glass", "limestone", "birch", "iron", "clay", "cedar"]
COLOURS = ["green", "blue", "white", "crimson", "grey", "yellow", "black", "amber"]
ANIMALS = [
    "fox",
    "heron",
    "hare",
    "otter",
    "badger",
    "goose",
    "wolf",
    "hedgehog",
    "crow",
    "stag",
    "mole",
    "owl",
]
THINGS = [
    "lantern",
    "flute",
    "kettle",
    "mirror",
    "thimble",
    "saddle",
    "drum",
    "needle",
    "bell",
    "spoon",
    "cloak",
    "key",
]


class Inventor:
    """Draws names and numbers, no name twice."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self._used: set[str] = set()

    def word(self) -> str:
        while True:
            middle = "".join(self.random.choice(MIDDLES) for _ in range(self.random.choice((1, 1, 2))))
            word = f"{self.random.choice(STARTS)}{middle}{self.random.choice(ENDS)}"
            if word not in self._used:
                self._used.add(word)
                return word

    def person(self) -> str:
        return f"{self.word()} {self.word()}"

    def place(self) -> str:
        return self.word() + self.random.choice(("", "", " Bay", " Hill", "stead", "ford"))

    def pick(self, words: Sequence[str]) -> str:
        return self.random.choice(words)

    def number(self, least: int, most: int) -> int:
        return self.random.randint(least, most)


@dataclass(frozen=True)
class Written:
    """A text with questions and the answers to them, each of which stands in it; German where it is wanted."""

    title: str
    text: str
    asked: tuple[tuple[str, tuple[str, ...]], ...]
    german: str = ""
    asked_german: tuple[tuple[str, tuple[str, ...]], ...] = ()


Write = Callable[[Inventor], Written]


# News.


def bridge(i: Inventor) -> Written:
    who, place, river, cost = i.person(), i.place(), i.word(), i.number(12, 480)
    text = (
        f"{place} opened its second bridge over the {river} on Monday, eleven months late. The mayor, {who}, "
        f"said the {cost} million crowns had been well spent. Ferries will go on running until the spring."
    )
    return Written(
        "", text,
        ((f"How much did the second bridge of {place} cost?", (f"{cost} million crowns", f"{cost} million")),
         (f"Who is the mayor of {place}?", (who,))),
    )  # fmt: skip


def strike(i: Inventor) -> Written:
    firm, union, days, who = i.word(), i.word(), i.number(3, 40), i.person()
    text = (
        f"Workers at {firm} Shipyards returned to the docks on Thursday after a strike of {days} days. Their "
        f'union, {union}, won a rise of four per cent. "Nobody should have to strike for a safe ladder," said '
        f"{who}, who led the talks."
    )
    return Written(
        "", text,
        ((f"How many days did the strike at {firm} Shipyards last?", (f"{days} days", str(days))),
         (f"Who led the talks for the union {union}?", (who,))),
    )  # fmt: skip


def find(i: Inventor) -> Written:
    who, trade, what, place = i.person(), i.pick(TRADES), f"{i.pick(COLOURS)} {i.pick(THINGS)}", i.place()
    text = (
        f"A {what} thought lost for two centuries has turned up in a barn near {place}. It was {who}, a "
        f"{trade}, who noticed it under a heap of sacks. The county museum hopes to show it in the autumn."
    )
    return Written(
        "", text,
        ((f"What was found in a barn near {place}?", (f"a {what}", what)),
         (f"What is {who}'s profession?", (trade, f"a {trade}"))),
    )  # fmt: skip


def election(i: Inventor) -> Written:
    party, who, seats, rival = i.word(), i.person(), i.number(21, 140), i.person()
    text = (
        f"The {party} League took {seats} seats in the assembly, according to results published early on "
        f"Sunday, and its leader {who} is expected to form a government. {rival} conceded shortly after "
        "midnight. Turnout was the lowest in a generation."
    )
    return Written(
        "", text,
        ((f"How many seats did the {party} League take?", (str(seats), f"{seats} seats")),
         (f"Who leads the {party} League?", (who,))),
    )  # fmt: skip


def storm(i: Inventor) -> Written:
    name, place, homes, village = i.word(), i.place(), i.number(200, 9000), i.place()
    text = (
        f"Storm {name} left {homes:,} homes around {place} without power. The worst damage was in {village}, "
        "where the church lost its roof. Engineers expect to restore the lines by Friday."
    )
    return Written(
        "", text,
        ((f"Which storm left homes around {place} without power?", (f"Storm {name}", name)),
         (f"Where was the worst damage of Storm {name}?", (village,))),
    )  # fmt: skip


def merger(i: Inventor) -> Written:
    buyer, bought, price, chief = i.word(), i.word(), i.number(15, 900), i.person()
    text = (
        f"{buyer} Mills agreed to buy its smaller rival {bought} Textiles for ${price} million in cash. "
        f"{chief}, chief executive of {bought}, will leave after the sale. Analysts called the price generous."
    )
    return Written(
        "", text,
        ((f"For how much did {buyer} Mills agree to buy its rival?", (f"${price} million",)),
         (f"Which company is {buyer} Mills buying?", (f"{bought} Textiles", bought))),
    )  # fmt: skip


NEWS: Sequence[Write] = (bridge, strike, find, election, storm, merger)


# Encyclopaedia, in English and German.


def river(i: Inventor) -> Written:
    name, length, source, mouth = i.word(), i.number(48, 760), i.word(), i.place()
    text = (
        f"The {name} is a river of {length} kilometres. It rises on the slopes of Mount {source} and flows "
        f"into the sea at {mouth}. In summer it can be crossed on foot in many places, and rafts carried "
        "timber on it until the railway came."
    )
    german = (
        f"Der {name} ist ein Fluss von {length} Kilometern Länge. Er entspringt an den Hängen des {source} und "
        f"mündet bei {mouth} ins Meer. Im Sommer kann man ihn an vielen Stellen zu Fuß überqueren, und bis die "
        "Eisenbahn kam, wurde auf ihm Holz geflößt."
    )
    return Written(
        name, text,
        ((f"How long is the {name}?", (f"{length} kilometres",)),
         (f"Where does the {name} flow into the sea?", (mouth, f"at {mouth}"))),
        german,
        ((f"Wie lang ist der {name}?", (f"{length} Kilometern",)),
         (f"Wo mündet der {name} ins Meer?", (mouth, f"bei {mouth}"))),
    )  # fmt: skip


def abbey(i: Inventor) -> Written:
    name, year, founder, stone = i.word(), i.number(1090, 1420), i.person(), i.pick(MATERIALS[:6])
    words = dict(zip(MATERIALS, ["Schiefer", "Eiche", "Granit", "Kupfer", "Glas", "Kalkstein"], strict=False))
    text = (
        f"{name} Abbey was founded in {year} by {founder}. Its church is built of {stone}, which was brought "
        "over the hills by ox cart. After a fire the monks moved to the valley, and only the bell tower stands."
    )
    german = (
        f"Die Abtei {name} wurde {year} von {founder} gegründet. Ihre Kirche ist aus {words[stone]} gebaut, der "
        "mit Ochsenkarren über die Hügel gebracht wurde. Nach einem Brand zogen die Mönche ins Tal, und nur der "
        "Glockenturm steht noch."
    )
    return Written(
        f"{name} Abbey", text,
        ((f"Who founded {name} Abbey?", (founder,)), (f"What is the church of {name} Abbey built of?", (stone,))),
        german,
        ((f"Wer gründete die Abtei {name}?", (founder,)),
         (f"Woraus ist die Kirche der Abtei {name} gebaut?", (words[stone], f"aus {words[stone]}"))),
    )  # fmt: skip


def theory(i: Inventor) -> Written:
    name, who, field, year = (
        i.word(),
        i.person(),
        i.pick(("optics", "botany", "acoustics")),
        i.number(1811, 1969),
    )
    german_field = {"optics": "Optik", "botany": "Botanik", "acoustics": "Akustik"}[field]
    text = (
        f"In {field}, the {name} effect was first described by {who} in {year}. It went unnoticed for years, since "
        "it can only be seen in very pure water. Today it is used to measure how old a sample is."
    )
    german = (
        f"In der {german_field} wurde der {name}-Effekt zuerst {year} von {who} beschrieben. Er blieb jahrelang "
        "unbeachtet, weil man ihn nur in sehr reinem Wasser sieht. Heute misst man damit das Alter von Proben."
    )
    return Written(
        f"{name} effect", text,
        ((f"Who first described the {name} effect?", (who,)),
         (f"In which year was the {name} effect first described?", (str(year),))),
        german,
        ((f"Wer beschrieb den {name}-Effekt zuerst?", (who,)),
         (f"In welchem Jahr wurde der {name}-Effekt zuerst beschrieben?", (str(year),))),
    )  # fmt: skip


def dynasty(i: Inventor) -> Written:
    name, capital, years, last = i.word(), i.place(), i.number(70, 310), i.word()
    text = (
        f"The {name} dynasty ruled the coast for {years} years from its capital, {capital}. It minted the first "
        f"silver coins of the region. Its last queen, {last}, gave up the throne to pay for a war she had not begun."
    )
    german = (
        f"Die Dynastie {name} herrschte {years} Jahre lang von ihrer Hauptstadt {capital} aus über die Küste. Sie "
        f"prägte die ersten Silbermünzen der Gegend. Ihre letzte Königin, {last}, gab den Thron auf, um einen "
        "Krieg zu bezahlen, den sie nicht begonnen hatte."
    )
    return Written(
        f"{name} dynasty", text,
        ((f"What was the capital of the {name} dynasty?", (capital,)),
         (f"Who was the last queen of the {name} dynasty?", (last,))),
        german,
        ((f"Was war die Hauptstadt der Dynastie {name}?", (capital,)),
         (f"Wer war die letzte Königin der Dynastie {name}?", (last,))),
    )  # fmt: skip


def game(i: Inventor) -> Written:
    name, players, piece, place = i.word(), i.pick(("two", "three", "four", "six")), i.pick(THINGS), i.place()
    numbers = {"two": "zwei", "three": "drei", "four": "vier", "six": "sechs"}
    text = (
        f"{name} is a board game for {players} players that comes from {place}. Whoever first moves the {piece} to "
        "the middle of the board wins. Sailors took it abroad, and in harbours it is still played for drinks."
    )
    german = (
        f"{name} ist ein Brettspiel für {numbers[players]} Spieler, das aus {place} stammt. Wer zuerst seinen Stein "
        "in die Mitte des Bretts bringt, gewinnt. Seeleute brachten es ins Ausland, und in Häfen wird es noch "
        "heute um Getränke gespielt."
    )
    return Written(
        name, text,
        ((f"Where does the game {name} come from?", (place,)), (f"How many players does {name} need?", (players,))),
        german,
        ((f"Woher stammt das Spiel {name}?", (place, f"aus {place}")),
         (f"Für wie viele Spieler ist {name}?", (numbers[players],))),
    )  # fmt: skip


ENCYCLOPAEDIA: Sequence[Write] = (river, abbey, theory, dynasty, game)
UNANSWERABLE = (
    "What was {} painted with?",
    "Who wrote the best-known song about {}?",
    "How much did a visit to {} cost in winter?",
    "Which saint is {} named after?",
)


# Stories.


def story_begins(i: Inventor, hero: str, animal: str, thing: str) -> Written:
    brothers = i.pick(("two", "three", "five", "seven"))
    text = (
        f"Once upon a time there lived at the edge of a wood a {i.pick(TRADES)} who had {brothers} sons. The "
        f"youngest was called {hero}, and because he was small he had to sleep beside the stove with the cat."
    )
    return Written("", text, (("Where did " + hero + " have to sleep?", ("beside the stove", "beside the stove with the cat")),
                              (f"How many sons were there in the house of {hero}?", (brothers,))))  # fmt: skip


def story_meets(i: Inventor, hero: str, animal: str, thing: str) -> Written:
    colour = i.pick(COLOURS)
    text = (
        f'On the third day {hero} met a {animal} with a {colour} tail, which had caught its foot in a trap. "Help '
        f'me," said the {animal}, "and I will give you the {thing} of my grandmother." {hero} opened the trap.'
    )
    return Written("", text, ((f"What colour was the tail of the {animal} that {hero} met?", (colour,)),
                              (f"What did the {animal} promise to give {hero}?",
                               (f"the {thing} of its grandmother", f"the {thing} of my grandmother", f"the {thing}"))))  # fmt: skip


def story_castle(i: Inventor, hero: str, animal: str, thing: str) -> Written:
    queen, material = i.word(), i.pick(MATERIALS)
    text = (
        f"Behind the hills stood a castle of {material} where Queen {queen} had not laughed for nine years. Whoever "
        f"could make her laugh was to have half of the kingdom. {hero} took out the {thing}, and the doors opened."
    )
    return Written("", text, ((f"What was the castle of Queen {queen} made of?", (material,)),
                              (f"For how long had Queen {queen} not laughed?", ("nine years", "for nine years"))))  # fmt: skip


def story_trial(i: Inventor, hero: str, animal: str, thing: str) -> Written:
    count, grain = (
        i.pick(("twelve", "thirty", "a hundred")),
        i.pick(("barley", "rye", "millet", "poppy seed")),
    )
    text = (
        f"But the chancellor was jealous and made {hero} sort {count} sacks of {grain} in one night. {hero} sat down "
        f"and wept. Then the {animal} came through the window with all its cousins, and before the cock crowed the "
        "work was done."
    )
    return Written("", text, ((f"What did {hero} have to sort in one night?", (f"{count} sacks of {grain}",)),
                              (f"Who helped {hero} to sort the {grain}?",
                               (f"the {animal}", f"the {animal} with all its cousins"))))  # fmt: skip


def story_ends(i: Inventor, hero: str, animal: str, thing: str) -> Written:
    princess, cake = i.word(), i.pick(("plum", "honey", "almond", "cherry"))
    text = (
        f"So {hero} married Princess {princess}, and at the wedding there was a {cake} cake as high as the tower. "
        f"The {animal} sat at the head of the table, and the {thing} hangs in the hall to this day."
    )
    return Written("", text, ((f"Whom did {hero} marry?", (f"Princess {princess}", princess)),
                              (f"What kind of cake was there at the wedding of {hero}?", (cake, f"a {cake} cake"))))  # fmt: skip


STORY = (story_begins, story_meets, story_castle, story_trial, story_ends)


# The data sets.


def streamingqa(folder: Path) -> None:
    inventor = Inventor("streamingqa")
    start = datetime(2019, 1, 7, 6, tzinfo=UTC)
    rows = []
    for number in range(DOCUMENTS):
        written = NEWS[number % len(NEWS)](inventor)
        moment = start + timedelta(days=6 * number, minutes=inventor.number(0, 600))
        for question, answers in written.asked:
            rows.append(
                {
                    "qa_id": f"eval-{len(rows)}",
                    "question": question,
                    "answers": "\\".join(answers),
                    "evidence_id": f"sample-{number}",
                    "evidence_ts": int(moment.timestamp()),
                    "text": f"{moment:%B %-d, %Y}\n{written.text}",
                }
            )
    write_csv(folder / "test.csv", rows)


def archivalqa(folder: Path) -> None:
    inventor = Inventor("archivalqa")
    rows = []
    for number in range(DOCUMENTS):
        written = NEWS[(number + 3) % len(NEWS)](inventor)
        article, paragraph = number // 3, number % 3
        day = datetime(1987, 3, 2, tzinfo=UTC) + timedelta(days=317 * article)
        for question, answers in written.asked:
            rows.append(
                {
                    "id": f"test_{len(rows)}",
                    "question": question,
                    "answer": answers[0],
                    "doc_id": 100_000 + article,
                    "para_num": paragraph,
                    "ans_paragraph": written.text,
                    "date": f"{day:%Y-%m-%d}",
                }
            )
    write_csv(folder / "test.csv", rows)


def squad(folder: Path) -> None:
    inventor = Inventor("squad")
    data: list[dict[str, Any]] = []
    for number in range(DOCUMENTS):
        written = ENCYCLOPAEDIA[number % len(ENCYCLOPAEDIA)](inventor)
        questions = squad_questions(f"squad-{number}", written.text, written.asked)
        if number % 4 == 0:  # one in eight is nowhere answered
            asked = UNANSWERABLE[number // 4 % len(UNANSWERABLE)].format(written.title)
            questions[1] = {
                "id": f"squad-{number}-1", "question": asked, "answers": [], "is_impossible": True,
                "plausible_answers": questions[0]["answers"],
            }  # fmt: skip
        data.append(
            {
                "title": written.title.replace(" ", "_"),
                "paragraphs": [{"context": written.text, "qas": questions}],
            }
        )
    write_json(folder / "dev-v2.0.json", {"version": "v2.0", "data": data})


def xquad(folder: Path) -> None:
    for language in ("en", "de"):
        inventor = Inventor("xquad")
        data = []
        for article in range(DOCUMENTS // len(ENCYCLOPAEDIA)):
            paragraphs = []
            for number, write in enumerate(ENCYCLOPAEDIA):
                written = write(inventor)
                text, asked = (
                    (written.text, written.asked)
                    if language == "en"
                    else (written.german, written.asked_german)
                )
                qas = squad_questions(f"xquad-{article}-{number}", text, asked)
                paragraphs.append({"context": text, "qas": qas})
            data.append({"title": f"Article_{article + 1}", "paragraphs": paragraphs})
        write_json(folder / f"xquad.{language}.json", {"version": "1.1", "data": data})


def squad_questions(
    name: str, text: str, asked: Sequence[tuple[str, tuple[str, ...]]]
) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{name}-{number}",
            "question": question,
            "answers": [
                {"text": answer, "answer_start": text.index(answer)} for answer in answers if answer in text
            ],
            "is_impossible": False,
        }
        for number, (question, answers) in enumerate(asked)
    ]


def fairytaleqa(folder: Path) -> None:
    inventor = Inventor("fairytaleqa")
    rows = []
    for story in range(DOCUMENTS // len(STORY)):
        hero, animal, thing = inventor.word(), ANIMALS[story], THINGS[(story * 5) % len(THINGS)]
        name = f"{hero.lower()}-and-the-{animal}"
        for write in STORY:
            written = write(inventor, hero, animal, thing)
            for question, answers in written.asked:
                rows.append(
                    {
                        "story_name": name,
                        "story_section": written.text,
                        "question": question,
                        "answer1": answers[0],
                        "answer2": answers[1] if len(answers) > 1 else "",
                        "local-or-sum": "local",
                        "attribute": "action",
                        "ex-or-im": "explicit",
                        "ex-or-im2": "",
                    }
                )
    write_csv(folder / "valid.csv", rows)


def longmemeval(folder: Path) -> None:
    inventor = Inventor("longmemeval")
    start = datetime(2023, 2, 6, 9, 20, tzinfo=UTC)
    sessions: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    for number in range(DOCUMENTS):
        moment = start + timedelta(hours=31 * number)
        turns, asked = TALKS[number % len(TALKS)](inventor)
        sessions.append({"id": f"session_{number}", "date": f"{moment:%Y/%m/%d (%a) %H:%M}", "turns": turns})
        for kind, question, answer in asked:
            questions.append({"type": kind, "question": question, "answer": answer, "session": number})
    entries = []
    for number, each in enumerate(questions):
        home = each["session"]
        # Three sessions to look through: its own and two others, in order of time.
        others = inventor.random.sample([n for n in range(DOCUMENTS) if n != home], 2)
        shown = sorted([home, *others])
        missing = number % 10 == 9
        entries.append(
            {
                "question_id": f"sample_{number}" + ("_abs" if missing else ""),
                "question_type": each["type"],
                "question": "What is the name of my dentist's parrot?" if missing else each["question"],
                "answer": "You did not mention this." if missing else each["answer"],
                "question_date": "2023/06/30 (Fri) 12:00",
                "haystack_session_ids": [sessions[n]["id"] for n in shown],
                "haystack_dates": [sessions[n]["date"] for n in shown],
                "haystack_sessions": [sessions[n]["turns"] for n in shown],
                "answer_session_ids": [] if missing else [sessions[home]["id"]],
            }
        )
    write_json(folder / "longmemeval_s.json", entries)


Talk = tuple[list[dict[str, Any]], list[tuple[str, str, str]]]


def turns(*said: str) -> list[dict[str, Any]]:
    """Turns of user and assistant, who speak in turn; what answers begins with an asterisk."""
    return [
        {
            "role": "user" if place % 2 == 0 else "assistant",
            "content": text.removeprefix("*"),
            "has_answer": text.startswith("*"),
        }
        for place, text in enumerate(said)
    ]


def talk_of_pets(i: Inventor) -> Talk:
    pet, animal, vet = i.word(), i.pick(ANIMALS), i.word()
    said = turns(
        f"*My {animal} {pet} has been limping since Sunday. I called Doctor {vet}, who can see us on Friday.",
        "Poor thing! Keep it quiet until then, and look for thorns.",
    )
    return said, [
        ("single-session-user", f"Which vet did I call because of {pet}?", f"Doctor {vet}"),
        ("single-session-user", f"What kind of animal is my {pet}?", animal),
    ]


def talk_of_trips(i: Inventor) -> Talk:
    place, hotel, days = i.place(), i.word(), i.number(3, 21)
    said = turns(
        f"*I am going to {place} for {days} days in April. Where could I stay?",
        f"*The Hotel {hotel} is quiet and close to the harbour.",
        "Sounds good, I will book it.",
        "Have a good journey!",
    )
    return said, [
        ("single-session-assistant", f"Which hotel did you recommend in {place}?", f"Hotel {hotel}"),
        ("temporal-reasoning", f"For how many days was I going to {place}?", f"{days} days"),
    ]


def talk_of_work(i: Inventor) -> Talk:
    firm, boss, old, new = i.word(), i.person(), i.number(20, 44), i.number(45, 80)
    said = turns(
        f"*I started at {firm} Instruments this week. My manager is {boss}.",
        "Congratulations! How large is the team?",
        f"*I was told {old} people, but it is {new} by now.",
        "It must be growing fast.",
    )
    return said, [
        ("single-session-user", f"Who is my manager at {firm} Instruments?", boss),
        ("knowledge-update", f"How many people are in my team at {firm} Instruments by now?", f"{new}"),
    ]


def talk_of_food(i: Inventor) -> Talk:
    dish, spice, shop = i.word().lower(), i.pick(("caraway", "saffron", "sumac", "mint")), i.word()
    said = turns(
        f"*I cannot stand {spice} any more, but I love {dish} stew. Any idea what to put in?",
        "Try a little lemon peel and pepper instead.",
        f"*I get mine at {shop}'s on the market.",
        "Fresh is best.",
    )
    return said, [
        ("single-session-preference", f"Which spice should you leave out of my {dish} stew?", spice),
        ("multi-session", f"Where do I buy what goes into my {dish} stew?", f"{shop}'s on the market"),
    ]


TALKS = (talk_of_pets, talk_of_trips, talk_of_work, talk_of_food)


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


MADE = (streamingqa, archivalqa, squad, fairytaleqa, xquad, longmemeval)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path, help="folder for a folder of each data set")
    arguments = parser.parse_args()
    for make in MADE:
        make(arguments.output / make.__name__)
        size = sum(path.stat().st_size for path in (arguments.output / make.__name__).iterdir())
        print(f"{make.__name__}: {size:,} bytes")


if __name__ == "__main__":
    main()
