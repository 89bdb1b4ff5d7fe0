using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>A model of sequences: (M, T, d) to (M, T, w), where the state at step t depends on the steps up to t alone.</summary>
public abstract class TimeModel(string name) : nn.Module<Tensor, Tensor>(name)
{
    /// <summary>Length of a state, w.</summary>
    public abstract int FeatureCount { get; }

    /// <summary>The model that <paramref name="options"/> describe, its weights not set.</summary>
    /// <param name="inputs">d.</param>
    /// <param name="options">Which.</param>
    /// <exception cref="ArgumentException">An option out of its range.</exception>
    public static TimeModel Create(int inputs, TimeModelOptions options) => options switch
    {
        LstmOptions lstm => new LstmTimeModel(inputs, lstm),
        CausalTransformerOptions transformer => new TransformerTimeModel(inputs, transformer),
        _ => throw new ArgumentException($"Unknown time model {options.GetType().Name}.", nameof(options)),
    };
}
