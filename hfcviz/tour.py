"""A guided tour of one bundled result: what to say, what to show, what to ask the class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hfcviz import tour_figures as show
from hfcviz.tour_figures import Material, Picture, for_a_class

BUNDLE = "brain2d"
"""Whose first result the tour is about."""


@dataclass(frozen=True)
class Step:
    """A step of the tour. title, text, question and answer have {places} that `tour_facts.facts` fills in; method: of the view
    on Explore that belongs to it.
    """

    name: str
    title: str
    text: str
    question: str
    answer: str
    draw: Callable[[Material], list[Picture]]
    method: str = "PCA"


TOUR: tuple[Step, ...] = (
    Step(
        "What the network sees",
        "The network turns a scan into a few hundred numbers",
        "This is a simulated brain scan of {size} pixels. The network says **{before}** and is {sure} sure; it is "
        "right in {right} of {of_test} test scans. On its way through {layers} layers the picture becomes "
        "*features*: the mean of each channel, {channels} of them from first to last. The plot shows the {width} "
        "numbers of the last layer, brought down to two: each point is one scan, and the two classes lie apart.",
        "If you only saw the last layer's numbers, how would you tell a scan that the network should not be asked "
        "about?",
        "By how far it lies from everything the network was trained on. That is what most detectors do, and what the "
        "next steps are about.",
        show.sees,
    ),
    Step(
        "A change nobody sees",
        "A change that nobody sees turns {before} into {after}",
        "The second picture is not the first one. PGD changed it in {steps} small steps, no pixel by more than "
        "{attack_linf} of the grey range ({share}), {attack_mean} on average. Now the network says **{after}** and is"
        " {attack_sure} sure. Below is the change itself, amplified until it can be seen.",
        "Noise of the same size does not change the prediction. What is different about this change?",
        "It is not random: each pixel moves in the direction that makes the target class more likely, and many tiny "
        "moves that all agree add up.",
        show.nobody_sees,
    ),
    Step(
        "One direction",
        "PGD always pushes the same way, and goes too far",
        "In a network with two classes the gradient at the last feature is *(1 − p) (w_other − w_target)*. While the "
        "probability *p* grows, its length shrinks, but its direction never changes. The measured way of this scan "
        "agrees with that direction with a cosine of **{attack_cosine}** (two directions drawn blindly in {width} "
        "dimensions: about {by_chance}). Nine of ten clean {after} scans lie between {clean_low} and {clean_high} "
        "along it; PGD starts at {way_start} and ends at **{attack_way}**.",
        "The network is 99 % sure after step {sure_by} already. Why does the feature not stop there?",
        "Nothing in the cross-entropy says stop: more is always a little better. The cosine is below 1 because "
        "pixels, bound to eps, cannot move the feature exactly as the gradient asks.",
        show.one_direction,
    ),
    Step(
        "Outliers",
        "So the attacked scan lies where no clean scan lies",
        "In the upper figure 0 is the median clean scan and 1 the clean 95 % quantile. PGD lies beyond 1 in "
        "**{attack_out} of {layers}** layers ({attack_depth} in the last one); the scan itself in {clean_out}, noise "
        "of the same size in {noise_out}. Below, the whole cohort: its PGD versions lie beyond both classes.",
        "Which layer would you watch if you could watch only one?",
        "Deep ones: what is added is tiny in the first layers and grows from layer to layer. An attacker who knows "
        "which layer you watch will spare it, though.",
        show.outliers,
    ),
    Step(
        "Detectors",
        "Detectors catch PGD, and clean scans set their thresholds",
        "A detector gives each version a score; its threshold lies where one clean scan in ten would be flagged, and "
        "no attack is needed to set it. **{attack_caught} of {detectors}** detectors catch PGD; {attack_missed} miss "
        "it. The unchanged scan is caught by {clean_caught}, the noisy one by {noise_caught}.",
        "One clean scan in ten is flagged by mistake. Is that acceptable in a hospital?",
        "It depends on what a flag costs: a second look at every tenth scan, or a stopped work flow. A lower rate of "
        "false alarms always lets more attacks through.",
        show.detectors,
    ),
    Step(
        "How HFC hides",
        "HFC fools the network too, and stays near the clean scans",
        "HFC adds one term for every layer: the distance to the clean scans of the class that is imitated. "
        "Same eps, same steps. The network still says **{after}** ({hidden_sure}). The feature goes the same way "
        "(cosine {hidden_cosine}), but stops at **{hidden_way}**, between {clean_low} and {clean_high}, where PGD "
        "went on to {attack_way}. In {hidden_out} of {layers} layers it lies beyond the clean scans, and in "
        "{hidden_below} it is even more typical than 95 % of them. **{hidden_caught} of {detectors}** detectors catch it.",
        "What must the attacker know to do this?",
        "The network with all its layers, and clean scans of the target class. Not the detectors: they were never "
        "asked.",
        show.hides,
    ),
    Step(
        "A picture is no evidence",
        "A picture in two dimensions is no evidence",
        "Both plots show the same {width} numbers of the same scans. UMAP keeps neighbours together and is free to "
        "choose all other distances; PCA is a straight shadow. The number counts: in all {width} dimensions the "
        "nearest clean {after} scan is **{attack_near}** away from PGD and **{hidden_near}** away from PGD+HFC. From "
        "one clean {after} scan to the next it is {near_usual}.",
        "In which of the two pictures would you have guessed these numbers?",
        "Gaps and sizes of islands in UMAP depend on its settings. Use pictures to ask questions, and distances, "
        "scores and intervals to answer them.",
        show.picture,
        "UMAP",
    ),
    Step(
        "A whole cohort",
        "Not one lucky scan: the whole cohort hides",
        "{run_attacked} scans were attacked at {run_eps} in {run_steps} steps; detectors were judged on {run_n} of "
        "them that they had never seen, against {run_negatives} clean and noisy ones. PGD reaches its target in "
        "{run_success}, with HFC in {run_hidden_success}. An AUC of {strong} or more: **{run_strong} of {detectors}**"
        " detectors for PGD, **{run_hidden_strong}** for PGD+HFC. The best of them is then {run_best} with "
        "{run_best_auc}.",
        "Some points lie far left of 0.5. Are these detectors blind?",
        "No. Blind is 0.5. Far below it a detector ranks attacks below clean scans reliably: it is inverted. The next"
        " step uses that.",
        show.cohort,
    ),
    Step(
        "What still betrays it",
        "Too typical is suspicious as well",
        "{inverted} finds PGD+HFC *more* typical than clean scans, far left in the upper figure: AUC "
        "**{inverted_auc}**. A two-sided test would read that as **{inverted_two_sided}**. Inverted too: "
        "{inverted_too}. BU, the spread under dropout, rises from {bu_plain} to {bu_hidden}. And hiding takes many "
        "steps: after FGSM's single one, which reaches the target in {one_success}, **{one_strong} of {detectors}** "
        "detectors keep an AUC of {strong} or more in spite of HFC.",
        "A hospital flags the *least* and the *most* typical scans. How does the attacker answer?",
        "By aiming at the typical distance of clean scans instead of the smallest one. The study *What would catch "
        "HFC?* meets such an attacker.",
        show.betrays,
    ),
    Step(
        "What a defender could do",
        "No detector as it is sees all of it",
        "Over {attacks} attacks with HFC at {run_eps}, {always_strong} of the {detectors} detectors keeps an AUC of "
        "{strong} or more. Read two-sided, {always_strong_two_sided}; the best is {most_two_sided}, at least "
        "{most_two_sided_least} ({most_two_sided_attack}). The Studies page compares defences, *What would catch HFC?*: "
        "two-sided tests with fair thresholds, detectors trained on HFC samples too, statistics that HFC leaves free, "
        "simplified images, and two of these together. **Not measured here**: layers that the attacker does not know "
        "of, JPEG or a shift before the network, an attack on a defence's own score.",
        "Which would you try first, and how would you prove that it works against an attacker who knows it?",
        "Whatever it is: judge it on scans it never saw, with an interval, with false alarms stated, and against an "
        "attack made for it.",
        show.defender,
    ),
)
"""All steps, in order."""


def pictures_of(step: Step, material: Material) -> dict[str, Picture]:
    """The pictures of a step in the size for a class, by the names of their recipes: {"tour-3-1": the first of the third step}."""
    drawn, number = step.draw(material), TOUR.index(step) + 1
    for_a_class(drawn)
    return {f"tour-{number}-{place}": picture for place, picture in enumerate(drawn, 1)}
