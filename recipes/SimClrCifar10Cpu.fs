/// SimCLR on all of CIFAR-10 at the scale of a CPU: 10 epochs of 24-pixel crops, evaluation at 32 pixels.
/// Needs `sslr data import cifar10 SOURCE` or `sslr data fetch cifar10`.
/// The same recipe in PyTorch 1.13 (2 cores): k-NN (k = 20, T = 0.1) 59.8 and 60.9, linear 61.2 and 61.1 for seeds 0 and 1;
/// raw pixels 44.9, random initialisation 35.7, supervised 76.6 (k-NN).
module Recipes.SimClrCifar10Cpu

open SslResearch

let setting =
    {
        Data = Cifar10
        Backbone = SmallResNet
        Train = Train.CpuScale
        Protocols =
            [
                Knn(k = 20, temperature = 0.1)
                Knn(k = 200, temperature = 0.1)
                LinearProbe(epochs = 100)
            ]
        Seeds = [ 0; 1; 2 ]
    }

let view =
    [
        CropTo(24, 0.2, 1.0)
        Flip 0.5
        JitterOf(0.8, brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1)
        Gray 0.2
    ]

let simclr =
    {
        Name = "SimCLR"
        Setting = setting
        Augment = twoViews view
        Method = SimClr.CpuCifar
    }

let supervised =
    {
        Name = "supervised"
        Setting = setting
        Augment = labelled [ CropTo(24, 0.4, 1.0); Flip 0.5 ]
        Method = Supervised
    }

let recipe =
    {
        Name = "simclr-cifar10-cpu"
        Summary =
            "CIFAR-10: SimCLR in 10 epochs on a CPU, beside raw pixels, random initialisation and supervised training"
        Tables =
            [
                Table.compare
                    "CIFAR-10, small ResNet, 10 epochs"
                    [
                        Run.rawPixels setting
                        Run.randomInit setting
                        Run.ofExperiment simclr
                        Run.ofExperiment supervised
                    ]
                    setting.Protocols
            ]
    }
