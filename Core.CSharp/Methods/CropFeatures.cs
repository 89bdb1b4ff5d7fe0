using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Features of all crops: one pass a resolution, so that batch statistics are shared among crops of one kind.</summary>
internal static class CropFeatures
{
    /// <returns>(V·N, d): the large crops' rows first, then the small ones'.</returns>
    public static torch.Tensor Of(Backbone encoder, MultiCrop views)
    {
        if (views.Locals is null)
        {
            return encoder.call(views.Globals);
        }

        using var globals = encoder.call(views.Globals); // (2N, d)
        using var locals = encoder.call(views.Locals); // (L·N, d)
        return torch.cat([globals, locals], 0);
    }
}
