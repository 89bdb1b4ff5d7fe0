using System.Runtime.InteropServices;

namespace SslResearch.Core.Data;

/// <summary>Tells files with an end from pipes, sockets and devices, which are never opened: reading them may wait, or go on, for ever.</summary>
internal static partial class RegularFile
{
    // statx(2): its structure is the same on every architecture.
    private const int CurrentFolder = -100;
    private const uint TypeOnly = 1;
    private const int ModeOffset = 28;
    private const int StructureBytes = 256;

    /// <summary>Why the file at a path is not to be read, links followed; null where it is a regular file.</summary>
    public static unsafe string? Problem(string path)
    {
        if (!OperatingSystem.IsLinux())
        {
            return File.Exists(path) ? null : "no file";
        }

        var status = stackalloc byte[StructureBytes];
        return statx(CurrentFolder, Path.GetFullPath(path), 0, TypeOnly, status) == 0
            ? ProblemOfMode(*(ushort*)(status + ModeOffset))
            : $"cannot be read: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}";
    }

    /// <summary>The same of a Unix mode as archives store it; a mode without a type is a regular file's.</summary>
    public static string? ProblemOfMode(int mode) => (mode & 0xF000) switch
    {
        0 or 0x8000 => null,
        0x1000 => "a pipe, not a regular file",
        0x2000 or 0x6000 => "a device, not a regular file",
        0x4000 => "a folder, not a regular file",
        0xC000 => "a socket, not a regular file",
        _ => "not a regular file",
    };

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static unsafe partial int statx(int folder, string path, int flags, uint mask, byte* status);
}
