using TorchSharp;

namespace SslResearch.Core.Models.Layers;

/// <summary>A layer that knows how its own parameters start; other layers follow <see cref="SeededInitialisation"/>'s default rule.</summary>
public interface IInitialised
{
    /// <summary>Distribution of one of the layer's own parameters.</summary>
    /// <param name="parameter">Its name within the layer, for example <c>weight</c>.</param>
    /// <param name="value">The parameter itself, for its shape.</param>
    InitialValue Initial(string parameter, torch.Tensor value);
}
