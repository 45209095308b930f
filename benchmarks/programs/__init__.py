"""One program a peer. Each prints one line of JSON: samples/s of every epoch, and the accuracy on the test split."""
