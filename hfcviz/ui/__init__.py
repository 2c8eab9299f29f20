"""Streamlit: forms, jobs, state and pages."""
