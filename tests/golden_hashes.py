"""SHA-256 of the parameters of known jobs with ptrain's own kernels: the same on any processor and number of ranks."""

DIGITS = "241bea57040e0f5cd9e41f6d729daef915cd6f34bda2815d204db7f7cd45fab7"
"""ptrain train"""
DIGITS_SGD = "6dded6972d093cfa2f9db74c710b057342294674c3d88b78f12aadda4ab94320"
"""ptrain train --optimizer sgd: the settings of the lecture"""
FASHION_MNIST_SGD = "075d5b24ab306c2b4b83d9b7c961b9a23d953d468fa7f8c1c82a68c51c2669fb"
"""ptrain train --data fashion-mnist --optimizer sgd --hidden 128 128 --lr 0.1 --epochs 4"""
