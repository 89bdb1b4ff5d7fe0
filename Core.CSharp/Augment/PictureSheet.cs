using SslResearch.Core.Data;
using TorchSharp;

namespace SslResearch.Core.Augment;

/// <summary>What a trained method predicts, as rows of pictures under named columns.</summary>
public static class PictureSheet
{
    /// <summary>Writes the sheet as a PNG, whole or not at all.</summary>
    /// <param name="path">File; its folder is created where it is missing.</param>
    /// <param name="title">Line at the top.</param>
    /// <param name="columns">One heading a column.</param>
    /// <param name="images">(rows, columns, C, H, W), normalised; C is 1 or 3. Values beyond 0 … 255 are clipped.</param>
    /// <param name="normalisation">What the values were normalised by.</param>
    /// <exception cref="ArgumentException">Another shape.</exception>
    public static void Write(string path, string title, IReadOnlyList<string> columns, torch.Tensor images, ChannelNormalisation normalisation) =>
        Sheet.Save(path, Png(title, columns, images, normalisation));

    /// <summary>The bytes of the PNG; equal for equal arguments.</summary>
    public static byte[] Png(string title, IReadOnlyList<string> columns, torch.Tensor images, ChannelNormalisation normalisation)
    {
        ArgumentNullException.ThrowIfNull(columns);
        ArgumentNullException.ThrowIfNull(normalisation);
        if (images.shape is not [> 0, > 0, 1 or 3, > 0, > 0] || images.shape[1] != columns.Count || images.shape[2] != normalisation.Mean.Count)
        {
            throw new ArgumentException(
                $"expected (rows, {columns.Count}, {normalisation.Mean.Count}, H, W), received ({string.Join(", ", images.shape)})", nameof(images));
        }

        var shape = new ImageShape((int)images.shape[3], (int)images.shape[4], (int)images.shape[2]);
        using var scope = torch.NewDisposeScope();
        var values = images.detach().to(torch.float32).cpu().contiguous().data<float>().ToArray();
        var one = shape.Channels * shape.Height * shape.Width;
        List<List<Sheet.Cell>> rows = [];
        for (var at = 0; at < values.Length; at += one)
        {
            if (rows.Count == 0 || rows[^1].Count == columns.Count)
            {
                rows.Add([]);
            }

            rows[^1].Add(new Sheet.Cell(shape, Sheet.Denormalised(values.AsSpan(at, one), shape, normalisation), null, [], []));
        }

        return Sheet.Png(title, [.. columns.Select(c => new Sheet.Head(c, Sheet.Ink))], rows);
    }
}
