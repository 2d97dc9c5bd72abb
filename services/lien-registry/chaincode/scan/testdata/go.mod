module example/testdata

go 1.26
