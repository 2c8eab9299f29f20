"""The method, told for a class room."""

from __future__ import annotations

import streamlit as st

from hfcviz.bundle import Bundle


def explain(bundle: Bundle) -> None:
    """Why plain attacks stand out, how HFC hides, and where the images come from."""
    st.markdown(
        "A conventional attack (PGD) follows the gradient of the cross-entropy toward the target class *t*. In a "
        "network with two classes "
        "that gradient has one fixed direction in the last feature *z*, so step after step pushes *z* along one "
        "ray, out of the data:"
    )
    st.latex(r"\nabla_{z} \, \mathrm{CE} = (1 - p_t)\,(w_{\mathrm{other}} - w_t)")
    st.markdown(
        "Detectors that know how clean features are distributed catch that. The hierarchical feature constraint "
        "(HFC) adds one term for "
        "each layer *l*: the squared Mahalanobis distance of the pooled feature to the nearest component of a "
        "Gaussian mixture of the "
        "target class's clean features,"
    )
    st.latex(
        r"\min_{\|x' - x\|_\infty \le \varepsilon} \; \mathrm{CE}(x', t) + \lambda \sum_l \frac{1}{C_l}"
        r"\,(z_l - \mu_{t,l})^\top \Sigma_{t,l}^{-1} (z_l - \mu_{t,l})"
    )
    st.markdown(
        "so the attacked scan ends inside the target's clean distribution and the detectors see nothing unusual. "
        "Some then find it *more* "
        "typical than clean scans: such a detector is inverted, not blind, and a two-sided test would notice. "
        "Source: Yao et al., *Adversarial Medical Image with Hierarchical Feature Hiding*, IEEE TMI, "
        "[arXiv 2312.01679](https://arxiv.org/abs/2312.01679)."
    )
    with st.container(horizontal=True):
        st.page_link("hfcviz/ui/pages/tour.py", label="The same in ten pictures: the tour", icon=":material/school:")
        st.page_link(
            "hfcviz/ui/pages/glossary.py", label="What the words mean: the glossary", icon=":material/menu_book:"
        )
    st.caption(bundle.source_note)
