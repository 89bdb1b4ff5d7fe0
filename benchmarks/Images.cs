using SslResearch.Core.Data;

namespace SslResearch.Benchmarks;

/// <summary>Shapes images, for our side as a store and for the peer as a raw file of (N, H, W, 3) bytes.</summary>
/// <param name="Folder">Where the raw files lie.</param>
internal sealed record Images(string Folder)
{
    private const int SmallCount = 10_000;
    private const int LargeCount = 256;

    public string Small => Path.Combine(Folder, "shapes-32.bin");

    public string Large => Path.Combine(Folder, "shapes-256.bin");

    public static ImageStore Open(int size) =>
        ShapesDataset.Open(new ShapesOptions(size == 32 ? SmallCount : LargeCount, size, 0, "train"), DataRoot.Resolve(null));

    /// <summary>Writes the files that are missing.</summary>
    public void Write()
    {
        Directory.CreateDirectory(Folder);
        Write(Small, 32);
        Write(Large, 256);
    }

    private static void Write(string path, int size)
    {
        using var store = Open(size);
        if (new FileInfo(path) is { Exists: true } file && file.Length == (long)store.Count * store.Shape.Bytes)
        {
            return;
        }

        using var stream = File.Create(path);
        for (var i = 0; i < store.Count; i++)
        {
            stream.Write(store.Pixels(i));
        }
    }
}
