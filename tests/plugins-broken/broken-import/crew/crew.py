"""Wants a package that nobody has."""

import a_package_that_nobody_has


def create_crew(settings):
    return a_package_that_nobody_has.Crew(settings)
