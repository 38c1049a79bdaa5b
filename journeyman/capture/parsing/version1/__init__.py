"""The first version of the parser. It stays as it is once it has made records: a second one reads them better."""
