"""What an appraisal is: listings, targets, intervals, waterfalls. Imports only numpy and carlien_common.domain."""
