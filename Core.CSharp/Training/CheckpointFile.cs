using System.Globalization;
using TorchSharp;

namespace SslResearch.Core.Training;

/// <summary>
/// The checkpoints of one folder: <c>step-00000123.safetensors</c>, each complete under its name, the last two kept.
/// A checkpoint that does not fit its own SHA-256 or its name is put aside as <c>.corrupt</c> and the one before it used.
/// </summary>
public sealed class CheckpointFile : IDisposable
{
    private const string Pattern = "step-*.safetensors";
    private const int Kept = 2;

    private readonly SafetensorsFile file;

    private CheckpointFile(SafetensorsFile file, long step)
    {
        this.file = file;
        Step = step;
    }

    /// <summary>Finished steps.</summary>
    public long Step { get; }

    /// <summary>Texts stored with it.</summary>
    public IReadOnlyDictionary<string, string> Metadata => file.Metadata;

    /// <summary>Where the checkpoint of a step lies.</summary>
    public static string PathOf(string folder, long step) =>
        Path.Combine(folder, $"step-{step.ToString("D8", CultureInfo.InvariantCulture)}.safetensors");

    /// <summary>Writes a checkpoint durably, then removes all but the last two.</summary>
    public static void Write(string folder, long step, IEnumerable<KeyValuePair<string, torch.Tensor>> tensors, IReadOnlyDictionary<string, string> metadata)
    {
        Safetensors.Write(PathOf(folder, step), tensors, metadata);
        foreach (var (path, _) in All(folder).Skip(Kept))
        {
            File.Delete(path);
        }
    }

    /// <summary>The newest intact checkpoint of a folder; null if it has none at all.</summary>
    /// <param name="folder">May be missing.</param>
    /// <param name="note">Told of each corrupt one.</param>
    /// <exception cref="TrainException">There are checkpoints, and none is intact (they stay as they are), or one cannot be read.</exception>
    public static CheckpointFile? OpenNewest(string folder, Action<string> note)
    {
        ArgumentNullException.ThrowIfNull(note);
        var corrupt = new List<SafetensorsException>();
        foreach (var (path, step) in All(folder))
        {
            try
            {
                var intact = new CheckpointFile(OpenIntact(path, step), step);
                foreach (var damage in corrupt)
                {
                    File.Move(damage.Path, damage.Path + ".corrupt", overwrite: true);
                    note($"Corrupt checkpoint put aside, going on from the one before it: {damage.Message}");
                }

                return intact;
            }
            catch (SafetensorsException e) when (e.InnerException is IOException or UnauthorizedAccessException)
            {
                throw new TrainException($"The checkpoint {e.Message}. Make it readable, or delete it to go on from the one before it.", e);
            }
            catch (SafetensorsException e)
            {
                corrupt.Add(e);
            }
        }

        return corrupt.Count == 0
            ? null
            : throw new TrainException(
                $"No checkpoint in {folder} can be used ({string.Join("; ", corrupt.Select(static e => e.Message))}). Delete the folder to train from the start.");
    }

    private static SafetensorsFile OpenIntact(string path, long step)
    {
        var file = SafetensorsFile.Open(path);
        try
        {
            return !file.Metadata.ContainsKey(Safetensors.HashKey) ? throw new SafetensorsException(path, "holds no SHA-256: it is damaged, or another version wrote it")
                : !file.IsIntact() ? throw new SafetensorsException(path, "does not fit its SHA-256")
                : file.Metadata.GetValueOrDefault("step") != step.ToString(CultureInfo.InvariantCulture) ? throw new SafetensorsException(path, "holds another step than its name says")
                : file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Copies a stored tensor into an existing one of the same type and shape.</summary>
    public void ReadInto(string name, torch.Tensor target) => file.ReadInto(name, target);

    /// <summary>A stored tensor.</summary>
    public torch.Tensor Read(string name) => file.Read(name);

    /// <inheritdoc/>
    public void Dispose() => file.Dispose();

    private static IEnumerable<(string Path, long Step)> All(string folder)
    {
        if (!Directory.Exists(folder))
        {
            return [];
        }

        return Directory.GetFileSystemEntries(folder, Pattern)
            .Select(p => (Path: p, Digits: Path.GetFileNameWithoutExtension(p)["step-".Length..]))
            .Where(p => long.TryParse(p.Digits, NumberStyles.None, CultureInfo.InvariantCulture, out _))
            .Select(p => (p.Path, Step: long.Parse(p.Digits, CultureInfo.InvariantCulture)))
            .OrderByDescending(p => p.Step);
    }
}
