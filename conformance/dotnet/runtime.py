"""Lays out a .NET installation from the npm package, and loads its libraries.

The package holds a self-contained program: the runtime, the Azure libraries and the program in one folder. A host
wants the runtime apart, as an installation has it, so the files are linked into that form. Nothing is changed in them.
"""

import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE / "node_modules/@azure/mcp-linux-x64/dist"
TARGET = HERE / "target"
RUNTIME = "Microsoft.NETCore.App"
RUNTIME_PACK = f"runtimepack.{RUNTIME}.Runtime.linux-x64/"


def lay_out():
    """Makes target/dotnet (the installation) and target/libraries (what programs bring along)."""
    dependencies = json.loads((PACKAGE / "azmcp.deps.json").read_text())
    platform = dependencies["runtimeTarget"]["name"]
    packs = dependencies["targets"][platform]
    name = next(pack for pack in packs if pack.startswith(RUNTIME_PACK))
    version, pack = name.removeprefix(RUNTIME_PACK), packs[name]
    files = [*pack["runtime"], *pack["native"]]

    framework = TARGET / "dotnet/shared" / RUNTIME / version
    _link(files, framework)
    _link(["libhostfxr.so"], TARGET / "dotnet/host/fxr" / version)
    of_the_runtime = set(files)
    libraries = [path.name for path in PACKAGE.glob("*.dll") if path.name not in of_the_runtime]
    _link(libraries, TARGET / "libraries")

    _write(
        framework / f"{RUNTIME}.deps.json",
        {
            "runtimeTarget": {"name": platform},
            "targets": {platform: {f"{RUNTIME}/{version}": pack}},
            "libraries": {f"{RUNTIME}/{version}": {"type": "package", "serviceable": True, "sha512": ""}},
        },
    )
    _write(
        TARGET / "runtimeconfig.json",
        {
            "runtimeOptions": {
                "tfm": "net" + ".".join(version.split(".")[:2]),
                "framework": {"name": RUNTIME, "version": version},
                # ICU is not on every machine, and no case sorts or folds text.
                "configProperties": {"System.Globalization.Invariant": True},
            }
        },
    )


def load():
    """Starts the runtime in this process; then `from Azure.Identity import …` works."""
    import clr_loader
    import pythonnet

    pythonnet.set_runtime(
        clr_loader.get_coreclr(
            runtime_config=TARGET / "runtimeconfig.json",
            dotnet_root=TARGET / "dotnet",
        )
    )
    import clr

    sys.path.append(str(TARGET / "libraries"))
    for library in ("Azure.Core", "Azure.Identity", "Azure.Security.KeyVault.Secrets"):
        clr.AddReference(library)


def version(library):
    """The version a loaded library says it is."""
    import clr
    from System.Reflection import Assembly, AssemblyInformationalVersionAttribute

    attribute = clr.GetClrType(AssemblyInformationalVersionAttribute)
    return Assembly.Load(library).GetCustomAttributes(attribute, False)[0].InformationalVersion.split("+")[0]


def _link(names, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        os.link(PACKAGE / name, folder / name)


def _write(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    lay_out()
