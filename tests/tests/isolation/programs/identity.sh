# I18: who runs this.
id
