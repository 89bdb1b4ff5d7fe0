using System.Runtime.InteropServices;

namespace SslResearch.Core.Data;

/// <summary>Lets one folder take another's place.</summary>
internal static partial class FolderSwap
{
    private const int CurrentFolder = -100;
    private const uint ExchangeFlag = 2;

    /// <summary>Each folder is at the other's path afterwards; in one step where the file system has it (renameat2(2)), else in three.</summary>
    /// <exception cref="IOException">Not possible; both are where they were.</exception>
    public static void Exchange(string one, string other)
    {
        if (TryExchange(one, other))
        {
            return;
        }

        var aside = $"{one}.{Guid.NewGuid():N}";
        Directory.Move(other, aside);
        try
        {
            Directory.Move(one, other);
        }
        catch
        {
            Directory.Move(aside, other);
            throw;
        }

        Directory.Move(aside, one);
    }

    private static bool TryExchange(string one, string other)
    {
        try
        {
            return OperatingSystem.IsLinux() && renameat2(CurrentFolder, one, CurrentFolder, other, ExchangeFlag) == 0;
        }
        catch (EntryPointNotFoundException)
        {
            return false;
        }
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int renameat2(int oneFolder, string one, int otherFolder, string other, uint flags);
}
