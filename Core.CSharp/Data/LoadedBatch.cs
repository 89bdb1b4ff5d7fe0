using SslResearch.Core.Views;

namespace SslResearch.Core.Data;

/// <summary>One batch, valid until the next is taken: its tensors are the loader's own memory.</summary>
/// <typeparam name="TViews">The batch type.</typeparam>
/// <param name="Step">Step from the start of the training, from 0.</param>
/// <param name="Epoch">Epoch, from 0.</param>
/// <param name="Views">The views, on the loader's device.</param>
/// <param name="Indices">Positions of the images in the dataset, in batch order.</param>
public sealed record LoadedBatch<TViews>(long Step, int Epoch, TViews Views, ReadOnlyMemory<int> Indices)
    where TViews : class, IViews;
