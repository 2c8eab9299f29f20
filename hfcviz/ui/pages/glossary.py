"""Glossary: every term in plain words."""

import streamlit as st

from hfcviz.glossary import GLOSSARY, anchor, find

st.title("Glossary")
words = st.text_input(
    "Search", key="glossary", placeholder="AUC", help="Words that a term's name or its explanation has.", width=420
)
found = find(words)
st.caption(f"{len(found)} of {len(GLOSSARY)} terms.")
if not found:
    st.info("No term has these words: try fewer, or a part of one.", icon=":material/search_off:")
for name, term in found.items():
    st.subheader(name, anchor=anchor(name))
    st.markdown(term.text)
    if term.source:
        st.caption(term.source)
