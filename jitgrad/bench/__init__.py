"""What is measured (`case`, `cases`, `operations`, `programs`) and how (`measuring`, `peers`, `comparing`).

``jitgrad bench``, the pages that it makes and the asv files read the same cases from here.
"""
