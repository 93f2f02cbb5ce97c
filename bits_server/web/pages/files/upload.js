// The upload page.
import { fillTexts } from "./dom.js";
import { TEXTS } from "./upload_texts.js";

fillTexts(TEXTS);
