package route

import "strings"

// EscapedSlashesChoices are all that there are.
func EscapedSlashesChoices() []EscapedSlashes {
	return []EscapedSlashes{EscapedSlashesRedirect, EscapedSlashesReject, EscapedSlashesKeep}
}

// RepeatedSlashesChoices are all that there are.
func RepeatedSlashesChoices() []RepeatedSlashes {
	return []RepeatedSlashes{RepeatedSlashesMerge, RepeatedSlashesKeep}
}

// UnderscoresChoices are all that there are.
func UnderscoresChoices() []Underscores {
	return []Underscores{UnderscoresDrop, UnderscoresReject, UnderscoresKeep}
}

// HeaderCaseChoices are all that there are.
func HeaderCaseChoices() []HeaderCase {
	return []HeaderCase{HeaderCaseLower, HeaderCaseTitle, HeaderCasePreserve}
}

// ServerHeaderChoices are all that there are.
func ServerHeaderChoices() []ServerHeader {
	return []ServerHeader{ServerHeaderIfAbsent, ServerHeaderPassThrough, ServerHeaderRemove}
}

// List is words in a sentence.
func List[C ~string](words []C) string {
	texts := make([]string, len(words))
	for i, word := range words {
		texts[i] = string(word)
	}
	return strings.Join(texts, ", ")
}
