#!/usr/bin/env bash
# The one entry for a person: ./build.sh TARGET [ARGUMENTS…]; without arguments it lists the targets.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

if ! command -v dotnet >/dev/null; then
    echo "build.sh: the .NET SDK 10 is needed, and 'dotnet' is not on the PATH." >&2
    exit 2
fi

export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1
# A bare machine may have no ICU; nothing here depends on a culture.
export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=${DOTNET_SYSTEM_GLOBALIZATION_INVARIANT:-1}

# Packages come from the feed that this machine's NuGet is configured with.
if [ -z "${NUGET_SOURCE:-}" ]; then
    NUGET_SOURCE=$(cd "$here" && dotnet nuget list source --format short | awk '$1 ~ /^E/ { print $2; exit }')
    if [ -z "$NUGET_SOURCE" ]; then
        echo "build.sh: NuGet has no enabled source ('dotnet nuget list source'): add one, or set NUGET_SOURCE." >&2
        exit 2
    fi
fi
export NUGET_SOURCE

# The script builds what is needed and leaves the command to go on with. This process then becomes that command,
# so that signals and exit codes reach it and its caller without being forwarded.
next_file=$(mktemp)
trap 'rm -f "$next_file"' EXIT
SSLR_NEXT=$next_file dotnet fsi --quiet --exec "$here/build.fsx" "$@"
mapfile -d '' -t next <"$next_file"
rm -f "$next_file"
if [ ${#next[@]} -gt 0 ]; then
    exec "${next[@]}"
fi
