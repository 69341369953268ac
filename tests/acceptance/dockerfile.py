"""Takes a Dockerfile's steps in plain folders, where no container runtime is: a folder for each stage,
RUN inside it, COPY between them. Nothing outside is touched, so RUN may use relative paths only.

dockerfile.py DOCKERFILE CONTEXT FOLDER; what the last stage says about running is in FOLDER/image.json
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

dockerfile, context, folder = (Path(each).resolve() for each in sys.argv[1:4])


def instructions():
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.M)
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name, rest.strip()


def sources():
    """The files of the context that .dockerignore lets through: all but what is named with a `!`."""
    ignore = Path(f"{dockerfile}.dockerignore").read_text().split("\n")
    ignore = [line for line in ignore if line and not line.startswith("#")]
    assert ignore[0] == "*" and all(line.startswith("!") for line in ignore[1:]), ignore
    kept = [line[1:] for line in ignore[1:]]
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *kept], cwd=context, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def copy(stage, words):
    options = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
    source, target = (word for word in words if not word.startswith("--"))
    target = stage["root"] / (target[1:] if target.startswith("/") else f"{stage['workdir'][1:]}/{target}")
    if "from" in options:
        shutil.copytree(stages[options["from"]]["root"] / source[1:], target, dirs_exist_ok=True)
        stage["owners"][str(target.relative_to(stage["root"]))] = options.get("chown", "0:0")
        return
    assert source == ".", source
    for name in sources():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(context / name, target / name)


stages = {}
for name, rest in instructions():
    if name == "FROM":
        image, _, alias = rest.partition(" AS ")
        stage = {"root": folder / (alias or "last"), "workdir": "/", "env": {}, "owners": {}}
        stages[alias or "last"] = stage
    elif name == "WORKDIR":
        stage["workdir"] = rest
        (stage["root"] / rest[1:]).mkdir(parents=True, exist_ok=True)
    elif name == "COPY":
        copy(stage, rest.split())
    elif name == "RUN":
        assert not re.search(r"(^|\s)/", rest), rest
        env = {key: value for key, value in os.environ.items() if not key.startswith("CARGO_TARGET")}
        subprocess.run(["sh", "-ec", rest], cwd=stage["root"] / stage["workdir"][1:], env=env, check=True)
    elif name == "ENV":
        stage["env"].update(word.split("=", 1) for word in shlex.split(rest))
    elif name == "ENTRYPOINT":
        stage["entrypoint"] = json.loads(rest)
    elif name == "HEALTHCHECK":
        stage["healthcheck"] = json.loads(rest.partition("CMD ")[2])
    elif name in ("USER", "STOPSIGNAL", "EXPOSE", "VOLUME"):
        stage[name.lower()] = rest
    else:
        sys.exit(f"unknown: {name} {rest}")
(folder / "image.json").write_text(json.dumps({**stage, "root": str(stage["root"])}, indent=1))
