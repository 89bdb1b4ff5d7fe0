using SslResearch.Core.Losses;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>What methods that predict hidden pixels do with a <see cref="MaskedView"/>.</summary>
internal static class HiddenPatches
{
    /// <summary>Columns of the pictures.</summary>
    public static readonly IReadOnlyList<string> Columns = ["input", "masked", "reconstruction"];

    /// <summary>Side of the masks' square patches, and how many there are along height and width.</summary>
    /// <exception cref="ArgumentException">No squares make so many patches of these images, or none is hidden.</exception>
    public static (int Side, int Rows, int Columns) Grid(MaskedView views)
    {
        var (height, width) = (views.Images.shape[2], views.Images.shape[3]);
        var side = (int)Math.Round(Math.Sqrt((double)height * width / views.Patches));
        if (side < 1 || height % side != 0 || width % side != 0 || height / side * (width / side) != views.Patches)
        {
            throw new ArgumentException($"{views.Patches} patches are no squares that cover views of {height}×{width} pixels: give masks for views of this size.", nameof(views));
        }

        return views.Hidden > 0
            ? (side, (int)(height / side), (int)(width / side))
            : throw new ArgumentException($"None of the {views.Patches} patches is hidden, so there is nothing to predict: give a larger ratio.", nameof(views));
    }

    /// <summary>Which positions are hidden, each patch being a square of <paramref name="times"/> by that many positions.</summary>
    /// <returns>(N, rows · times, columns · times) bool.</returns>
    public static torch.Tensor Mask(MaskedView views, (int Rows, int Columns) grid, int times)
    {
        using var scope = torch.NewDisposeScope();
        var count = views.Count;
        var indices = views.HiddenIndices();
        return torch.zeros(count, views.Patches, torch.ScalarType.Bool, indices.device)
            .scatter_(1, indices, torch.ones_like(indices, torch.ScalarType.Bool))
            .view(count, grid.Rows, 1, grid.Columns, 1)
            .expand(count, grid.Rows, times, grid.Columns, times)
            .reshape(count, grid.Rows * times, grid.Columns * times)
            .MoveToOuterDisposeScope();
    }

    /// <summary>Rows of input | input without the hidden patches (grey) | input with the predicted values in their place.</summary>
    /// <param name="views">The input.</param>
    /// <param name="predicted">(N, hidden, D), in the order of the mask.</param>
    public static MethodPicture Picture(MaskedView views, torch.Tensor predicted)
    {
        using var scope = torch.NewDisposeScope();
        var (side, rows, columns) = Grid(views);
        var patches = MaskedPatchLoss.Patchify(views.Images, side);
        var places = views.HiddenIndices().unsqueeze(-1).expand(-1, -1, patches.size(2));
        torch.Tensor With(torch.Tensor values) => MaskedPatchLoss.Unpatchify(patches.scatter(1, places, values), side, rows, columns);
        var images = torch.stack([views.Images, With(torch.zeros_like(predicted)), With(predicted)], 1);
        return new MethodPicture(Columns, images.MoveToOuterDisposeScope());
    }
}
