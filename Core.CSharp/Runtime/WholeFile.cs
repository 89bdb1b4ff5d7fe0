using System.Globalization;

namespace SslResearch.Core.Runtime;

/// <summary>Files that are whole or not there, whatever ends the process.</summary>
public static class WholeFile
{
    /// <summary>
    /// Writes beside the final name and renames; where that fails, nothing is left. What processes that ended in the midst of it left beside that name goes.
    /// </summary>
    /// <exception cref="IOException">The disk is full, or the folder is none.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written.</exception>
    public static void Write(string path, ReadOnlySpan<byte> content)
    {
        var full = Path.GetFullPath(path);
        var folder = Path.GetDirectoryName(full)!;
        Directory.CreateDirectory(folder);
        foreach (var left in Directory.EnumerateFiles(folder, Path.GetFileName(full) + ".*.tmp"))
        {
            if (!IsAlive(left))
            {
                File.Delete(left);
            }
        }

        var temporary = $"{full}.{Environment.ProcessId.ToString(CultureInfo.InvariantCulture)}.tmp";
        try
        {
            File.WriteAllBytes(temporary, content);
            File.Move(temporary, full, overwrite: true);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    /// <summary>Whether the process that a temporary file is named after still runs.</summary>
    private static bool IsAlive(string temporary)
    {
        var number = Path.GetExtension(Path.GetFileNameWithoutExtension(temporary)).TrimStart('.');
        if (!int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var id))
        {
            return false;
        }

        try
        {
            using var process = System.Diagnostics.Process.GetProcessById(id);
            return true;
        }
        catch (ArgumentException)
        {
            return false;
        }
    }
}
