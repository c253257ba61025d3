//! Drives any driver binary, given by path, over the plugin protocol against a real dockerd.
