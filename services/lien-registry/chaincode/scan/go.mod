module carlien/mortgage-asset/scan

go 1.26
