"""What pyproject.toml cannot say: files of flags/ are simclr_med/recipes/ in the wheel."""

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """Copies recipes and arms files beside the modules; an editable install finds them in the clone."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        recipes = pathlib.Path(self.build_lib, "simclr_med", "recipes")
        recipes.mkdir(parents=True, exist_ok=True)
        for kind in ("*.flags", "*.toml"):
            for path in sorted(pathlib.Path("flags").glob(kind)):
                shutil.copy(path, recipes)


setup(cmdclass={"build_py": BuildWithRecipes})
