using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Rows of pictures for a person to judge a trained method by.</summary>
/// <param name="Columns">Heading of each column.</param>
/// <param name="Images">(rows, columns, 3, H, W) float32, normalised as the views are; belongs to the receiver.</param>
public sealed record MethodPicture(IReadOnlyList<string> Columns, torch.Tensor Images);

/// <summary>A method that can show what it predicts (input, masked, reconstruction, …).</summary>
/// <typeparam name="TViews">The batch type it learns from.</typeparam>
public interface IPictured<in TViews>
    where TViews : class, IViews
{
    /// <summary>One row for each image of the batch. Called after training, outside autograd; leaves no tensors behind and the networks as they were.</summary>
    MethodPicture Picture(TViews views, in StepContext context);
}
