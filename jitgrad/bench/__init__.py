"""What is measured (`case`, `cases`, `operations`, `programs`) and how (`measuring`, `peers`, `comparing`).

``jitgrad bench``, ``python -m benchmarks.versus`` and the asv files read the same cases from here.
"""
