using SslResearch.Core.Augment;
using SslResearch.Core.Data;
using SslResearch.Core.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Evaluation;

/// <summary>Runs a frozen encoder over a dataset, without augmentation. Leaves modes and generators as they were.</summary>
public static class FeatureExtractor
{
    /// <summary>Features of every image, in the order of the store.</summary>
    /// <param name="encoder">On <paramref name="device"/>; null takes the normalised pixels themselves, in (channel, row, column) order.</param>
    /// <param name="layer">One of the encoder's layers; <see cref="Backbone.Output"/> is h.</param>
    /// <param name="projector">Applied to h (the result is then z); null for h itself. Needs <paramref name="layer"/> to be h.</param>
    /// <param name="store">Images.</param>
    /// <param name="normalisation">Mean and deviation of each channel on [0, 1]-scaled values.</param>
    /// <param name="batchSize">Images in one pass.</param>
    /// <param name="device">Where the encoder lies.</param>
    /// <param name="stop">Stops between batches.</param>
    /// <returns>(N, d) features and labels on the CPU; the caller disposes them.</returns>
    /// <exception cref="ArgumentException">Unknown layer, a projector after another layer than h, or a normalisation for another number of channels.</exception>
    public static FeatureBank Extract(
        Backbone? encoder,
        string layer,
        nn.Module<Tensor, Tensor>? projector,
        ImageStore store,
        ChannelNormalisation normalisation,
        int batchSize,
        Device device,
        CancellationToken stop)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        var shape = store.Shape;
        if (normalisation.Mean.Count != shape.Channels || normalisation.Std.Count != shape.Channels)
        {
            throw new ArgumentException(
                $"The normalisation has {normalisation.Mean.Count} means and {normalisation.Std.Count} deviations, but images of '{store.Name}' have {shape.Channels} channels.",
                nameof(normalisation));
        }

        if (projector is not null && (encoder is null || layer != Backbone.Output))
        {
            throw new ArgumentException($"A projector follows the encoder's output '{Backbone.Output}'; received layer '{layer}'.", nameof(projector));
        }

        using var frozen = new FrozenPass(new[] { encoder, projector }.OfType<nn.Module>());
        using var scope = NewDisposeScope();
        Tensor? features = null;

        // (x/255 − mean) / std as one multiplication and one addition
        var scale = from_array(normalisation.Std.Select(s => 1 / (255 * s)).ToArray()).to(device);
        var shift = from_array(normalisation.Mean.Zip(normalisation.Std, (m, s) => -m / s).ToArray()).to(device);
        var bytes = zeros(Math.Min(batchSize, store.Count), shape.Height, shape.Width, shape.Channels, ScalarType.Byte);
        for (var at = 0; at < store.Count; at += batchSize)
        {
            stop.ThrowIfCancellationRequested();
            using var step = NewDisposeScope();
            var count = Math.Min(batchSize, store.Count - at);
            var memory = bytes.bytes;
            for (var i = 0; i < count; i++)
            {
                store.Pixels(at + i).CopyTo(memory.Slice(i * shape.Bytes, shape.Bytes));
            }

            var images = bytes.narrow(0, 0, count).to(device).to(ScalarType.Float32).mul_(scale).add_(shift).permute(0, 3, 1, 2); // (n, C, H, W)
            var rows = encoder is null ? images.flatten(1) : layer == Backbone.Output ? encoder.call(images) : encoder.Layer(images, layer);
            rows = projector is null ? rows : projector.call(rows);
            features ??= empty(store.Count, rows.shape[1], ScalarType.Float32).MoveToOuterDisposeScope();
            features.narrow(0, at, count).copy_(rows);
        }

        var labels = new long[store.Count];
        for (var i = 0; i < labels.Length; i++)
        {
            labels[i] = store.Label(i);
        }

        return new FeatureBank(features!, tensor(labels));
    }
}
